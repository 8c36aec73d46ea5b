"""Random values that embedded mode makes at first use and keeps in its data folder."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path


def kept(folder: Path, name: str) -> str:
    """The value kept under `name`, made now where there is none; readable by its owner only.

    Two processes that start at once agree: the file appears whole, by a link that only one makes.
    """
    path = folder / name
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder) as made:  # mode 0600
            made.write(secrets.token_urlsafe(48))
            made.flush()
            with contextlib.suppress(FileExistsError):
                os.link(made.name, path)
    return path.read_text().strip()
