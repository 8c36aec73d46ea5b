from django.apps import AppConfig


class RunsConfig(AppConfig):
    name = "runs"

    def ready(self) -> None:
        from staterail.celery import app

        app.steps["worker"].add("runs.bootstep:ReactorStep")
