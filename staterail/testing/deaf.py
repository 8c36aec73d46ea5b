"""A child of `isolated` that never reads its call."""

import time

if __name__ == "__main__":
    time.sleep(60)
