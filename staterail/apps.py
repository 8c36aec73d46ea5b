from django.apps import AppConfig


class StateRailConfig(AppConfig):
    """The composition: commands and pages that put the apps together."""

    name = "staterail"
    label = "staterail"
