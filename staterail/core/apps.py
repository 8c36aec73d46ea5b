from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "staterail.core"
    label = "core"
