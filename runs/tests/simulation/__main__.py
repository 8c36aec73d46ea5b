"""Play one seed and tell what happens: `python -m runs.tests.simulation SEED`."""

import logging
import os
import sys
import tempfile

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "staterail.settings")


def main() -> None:
    import django

    django.setup()
    from runs.tests.simulation.story import Story

    logging.disable(logging.NOTSET if "-v" in sys.argv else logging.CRITICAL)
    print = sys.stdout.write
    story = Story(int(sys.argv[1]), lambda line: None if not print(line + "\n") else None)
    try:
        story.play()
    finally:
        for row in story.world.store.rows.values():
            print(f"{row.head.id} {row.run.state} revision {row.run.revision}, wake_at {row.wake_at}\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STATERAIL_DATA"] = folder
        main()
