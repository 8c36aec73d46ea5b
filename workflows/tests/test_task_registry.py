import pytest

from workflows import task_registry
from workflows.task_registry import TaskError, TaskType, registered, task


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr(task_registry, "_tasks", dict(registered()))


def test_a_function_is_registered_under_its_name_with_the_first_line_of_its_docstring():
    @task("orders.reserve", isolated=True)
    def reserve(ctx, *, sku):
        """Reserve stock.

        More.
        """

    assert registered()["orders.reserve"] == TaskType("orders.reserve", reserve, "Reserve stock.", True)


def test_a_function_without_docstring_has_no_summary():
    @task("orders.plain")
    def plain(ctx):
        pass

    assert registered()["orders.plain"] == TaskType("orders.plain", plain, "", False)


def test_a_name_is_taken_once_but_a_module_may_be_loaded_again():
    def first(ctx):
        pass

    def second(ctx):
        pass

    task("orders.one")(first)
    task("orders.one")(first)
    with pytest.raises(ValueError, match="two tasks are called 'orders.one'"):
        task("orders.one")(second)
    assert registered()["orders.one"].function is first


def test_the_built_in_tasks_are_there():
    assert {"core.noop", "core.echo", "core.sleep", "core.fail", "core.flaky"} <= set(registered())


def test_a_task_error_says_its_code_where_it_has_no_message():
    error = TaskError("sold_out")
    assert (error.code, error.message, error.retryable, str(error)) == ("sold_out", "sold_out", False, "sold_out")
