from django.core.management.base import BaseCommand

from runs.machine.diagram import diagrams


class Command(BaseCommand):
    help = "Print the state machines of runs and steps as Mermaid diagrams (docs/semantics.md shows them)."
    requires_system_checks: list[str] = []

    def handle(self, *args: object, **options: object) -> None:
        self.stdout.write(diagrams())
