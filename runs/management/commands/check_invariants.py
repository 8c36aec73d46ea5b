import sys
from typing import Any

from django.core.management.base import BaseCommand

from runs.invariants import INVARIANTS


class Command(BaseCommand):
    help = "Check what must hold of the stored runs at any time, one line each; exit status 1 on a breach."
    requires_system_checks: list[str] = []  # it would double the time that the command takes

    def handle(self, *args: Any, **options: Any) -> None:
        broken = 0
        for invariant in INVARIANTS:
            breaches = list(invariant.find())
            broken += bool(breaches)
            self.stdout.write(f"{'BROKEN' if breaches else 'ok    '} {invariant.id:<5} {invariant.promise}")
            for breach in breaches[:10]:
                self.stdout.write(f"         {breach}")
        self.stdout.write(f"{len(INVARIANTS) - broken} hold, {broken} are broken")
        if broken:
            sys.exit(1)
