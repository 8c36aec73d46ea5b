from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class WorkflowsConfig(AppConfig):
    name = "workflows"

    def ready(self) -> None:
        autodiscover_modules("staterail_tasks")  # each registers its functions with workflows.task_registry
