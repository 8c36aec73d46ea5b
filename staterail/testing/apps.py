from django.apps import AppConfig


class TestingConfig(AppConfig):
    """Installed by STATERAIL_TEST_TASKS=1: tasks for tests."""

    name = "staterail.testing"
    label = "staterail_testing"
