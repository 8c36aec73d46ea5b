"""A child of `isolated` that answers with the names in its environment."""

import json
import os
import struct
import sys

if __name__ == "__main__":
    answer = json.dumps({"result": sorted(os.environ)}).encode()
    os.write(int(sys.argv[2]), struct.pack(">I", len(answer)) + answer)
