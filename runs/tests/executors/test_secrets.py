"""I-41 for a step: a secret that an attempt was given is in nothing that it leaves, in whatever form it comes back."""

import base64
import html
import json
from collections.abc import Iterator
from contextlib import closing
from queue import SimpleQueue
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from runs.executors.base import Executor
from runs.executors.http_call import HttpExecutor
from runs.executors.isolated import run_alone
from runs.executors.task import TaskContext, execute
from runs.machine.stimuli import Failed, Succeeded
from runs.reactor.pool import Job, Pool, Result
from runs.tests.executors.calls import CallFactory
from staterail.core.net.guard import AllowList
from staterail.testing.effects import EffectsServer
from workflows import task_registry
from workflows.definition.templates import compile_template
from workflows.task_registry import TaskError, task

SECRET = 'CANARY "u" & <42>/+?'
FORMS = {
    "plain": SECRET,
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "within base64": base64.b64encode(b"user:" + SECRET.encode()).decode(),
    "in a url": quote(SECRET, safe=""),
    "in a query": quote_plus(SECRET),
    "in json": json.dumps(SECRET),
    "in html": html.escape(SECRET),
}


@pytest.fixture(scope="module")
def server() -> Iterator[EffectsServer]:
    with EffectsServer() as server:
        yield server


@pytest.fixture
def pool(server: EffectsServer) -> Iterator[Pool]:
    before = dict(task_registry._tasks)
    with closing(HttpExecutor(AllowList.parse([server.netloc]))) as http:
        executors: dict[str, Executor] = {"Task": execute, "HttpCall": http.execute}
        pool = Pool(1, SimpleQueue(), executors, run_alone)
        yield pool
        pool.close()
    task_registry._tasks.clear()
    task_registry._tasks.update(before)


def result_of(pool: Pool, kind: str, config: Any, **fields: Any) -> Result:
    """Execute as the reactor lets it be: rendered with the secret's value on the pool's thread."""
    call = CallFactory(kind=kind, config=None, secrets=(SECRET,), **fields)
    template = compile_template(config, {}, secrets=True)
    pool.submit(Job(0, call, template, {"secrets.KEY": SECRET}))
    result: Result = pool._inbox.get(timeout=30)
    pool.done(result.job)
    return result


def left_by(result: Result) -> str:
    stimulus = result.stimulus
    text = stimulus.output if isinstance(stimulus, Succeeded) else json.dumps(stimulus.error, ensure_ascii=False)
    return text + "\n".join(line.message for line in result.logs)


def assert_clean(result: Result) -> None:
    left = left_by(result)
    assert "***" in left
    assert [name for name, form in FORMS.items() if form in left or json.dumps(form)[1:-1] in left] == []
    assert "CANARY" not in left


@pytest.mark.parametrize("form", FORMS)
def test_what_a_task_returns_and_logs(pool: Pool, form: str) -> None:
    def careless(ctx: TaskContext, *, key: str) -> Any:
        assert key == SECRET
        ctx.logger.info("with %s", FORMS[form])
        return {"got": [f"<{FORMS[form]}>"], FORMS[form]: 1}

    task("careless")(careless)

    result = result_of(pool, "Task", {"name": "careless", "args": {"key": "${secrets.KEY}"}})

    assert isinstance(result.stimulus, Succeeded)
    assert_clean(result)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("error", [TaskError, ValueError])
def test_what_a_task_raises(pool: Pool, form: str, error: type[Exception]) -> None:
    def careless(ctx: TaskContext, *, key: str) -> None:
        raise TaskError("boom", FORMS[form]) if error is TaskError else ValueError("x" * 1980 + FORMS[form])

    task("careless")(careless)

    result = result_of(pool, "Task", {"name": "careless", "args": {"key": "${secrets.KEY}"}})

    assert isinstance(result.stimulus, Failed)
    assert_clean(result)


def test_an_arg_that_does_not_fit(pool: Pool) -> None:
    result = result_of(pool, "Task", {"name": "core.echo", "args": "key: ${secrets.KEY}"})

    assert isinstance(result.stimulus, Failed)
    assert "CANARY" not in left_by(result)


def test_what_an_isolated_task_returns_prints_and_logs(pool: Pool) -> None:
    result = result_of(
        pool, "Task", {"name": "test.prints", "args": {"text": "${'a ' + secrets.KEY + ' b'}"}}, alone=True
    )

    assert isinstance(result.stimulus, Succeeded)
    assert_clean(result)


@pytest.mark.parametrize(
    "config",
    [
        {"url": "/echo-headers", "headers": {"X-Mine": "Basic ${secrets.KEY}"}},
        {"url": "/echo", "query": {"q": "${secrets.KEY}"}},
        {"url": "/echo", "method": "POST", "body": {"a": "${secrets.KEY}", "${secrets.KEY}": 1}},
        {"url": "/mirror?type=text/html", "method": "POST", "text": "a ${secrets.KEY} b"},
        {"url": "/mirror?status=400", "method": "POST", "text": "a ${secrets.KEY} b"},
        {"url": "/redirect?code=302", "query": {"to": "http://127.0.0.1:1/${secrets.KEY}"}},
    ],
    ids=lambda config: config["url"],
)
def test_what_an_http_call_brings_back(pool: Pool, server: EffectsServer, config: dict[str, Any]) -> None:
    result = result_of(pool, "HttpCall", config | {"url": server.url + config["url"]})

    left = left_by(result)
    assert "CANARY" not in left
    assert [name for name, form in FORMS.items() if form in left] == []
