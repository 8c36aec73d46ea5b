from django.apps import AppConfig


class StateRailConfig(AppConfig):
    """The composition: commands and pages that put the apps together."""

    name = "staterail"
    label = "staterail"

    def ready(self) -> None:
        from staterail import checks  # noqa: F401 - it registers them
