#!/usr/bin/env python
"""StateRail's command line: `manage.py help` lists the commands."""

import os
import sys

try:
    from staterail.commandline import main
except ModuleNotFoundError:
    sys.exit(
        "manage.py: this Python has not what StateRail needs. `make setup` once, then .venv/bin/python manage.py ..."
    )

EARLY = {"--data": "STATERAIL_DATA", "--port": "STATERAIL_PORT"}


def read_early(argv: list[str]) -> None:
    """Settings are made of these options of `up`, so they must be known before the settings are read."""
    if argv[1:2] != ["up"]:
        return
    for n, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        value = value if equals else "".join(argv[n + 1 : n + 2])
        if name in EARLY and value and (name != "--port" or value.isdigit()):  # else the command says what is wrong
            os.environ[EARLY[name]] = value


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "staterail.settings")
    read_early(sys.argv)
    main(sys.argv)
