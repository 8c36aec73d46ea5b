from django.apps import AppConfig


class RunsConfig(AppConfig):
    name = "runs"

    def ready(self) -> None:
        from celery import current_app as app

        app.steps["worker"].add("runs.bootstep:ReactorStep")
        app.steps["worker"].add("runs.isolated.renewing:IsolatedStep")
