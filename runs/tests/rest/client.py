"""REST as a caller has it, without a server: one call, one answer, with a token of a role."""

import json
from typing import Any

from django.test import Client

from runs.models import Event, StepRun, WorkflowRun
from staterail.accounts.tests.factories import TenantFactory
from staterail.accounts.tokens import create_token
from staterail.core.actor import Role

V1 = "/api/v1"


class Api:
    """Calls as one API token. `tenant` is made where none is given."""

    def __init__(self, role: Role = Role.ADMIN, tenant: Any = None, owner: Any = None, name: str = "ci") -> None:
        self.tenant = tenant or TenantFactory()
        self.token = create_token(tenant=self.tenant, name=name, role=role, owner=owner)
        self.client = Client(headers={"Authorization": f"Bearer {self.token}"}, raise_request_exception=False)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The answer itself. `body` is JSON, or bytes as they are; `headers` are named with _ for -."""
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        )
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.generic(method, V1 + path, data, "application/json", headers=named)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """(status, parsed answer)"""
        answer = self.send(method, path, body, **headers)
        return answer.status_code, answer.json()

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        return self.call("GET", path, None, **headers)

    def find(self, path: str, **query: str) -> tuple[int, Any]:
        """With a query string that needs quoting."""
        answer = self.client.get(V1 + path, query)
        return answer.status_code, answer.json()

    def post(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        return self.call("POST", path, body, **headers)

    def must(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        status, answer = self.call(method, path, body, **headers)
        assert status < 300, f"{method} {path}: {status} {answer}"
        return answer

    def published(self, definition: Any, slug: str = "flow") -> str:
        """A workflow with one published version; its id."""
        made = self.must("POST", "/workflows", {"name": slug, "slug": slug, "definition": definition})
        self.must("POST", f"/workflows/{made['id']}/publish", {})
        return str(made["id"])

    def started(self, workflow: str, **body: Any) -> str:
        return str(self.must("POST", f"/workflows/{workflow}/runs", body)["id"])

    def step(self, run_id: str, step_id: str) -> Any:
        return self.must("GET", f"/runs/{run_id}/steps/{step_id}")


def problem(status: int, code: str) -> dict[str, Any]:
    """What every refusal has in common; compare with `told`."""
    return {"status": status, "code": code}


def told(answer: tuple[int, Any]) -> dict[str, Any]:
    """Status and code of a refusal, after a look at its shape."""
    status, body = answer
    assert {"type", "title", "status", "detail", "code"} <= set(body) <= {
        "type", "title", "status", "detail", "code", "problems",
    }, body  # fmt: skip
    assert body["status"] == status
    return {"status": status, "code": body["code"]}


def stored() -> list[Any]:
    """All that a command could have changed."""
    return [
        sorted(WorkflowRun.objects.values_list("id", "state", "revision", "seq")),
        sorted(StepRun.objects.values_list("id", "state", "attempt", "input", "output"), key=str),
        Event.objects.count(),
    ]


def refused(api: Api, path: str, body: Any, wanted: dict[str, Any]) -> Any:
    """A POST that is answered like this and changes nothing; its problem."""
    before = stored()
    answer = api.post(path, body)
    assert told(answer) == wanted
    assert stored() == before
    return answer[1]


def flow(*steps: Any, transitions: Any = (), **settings: Any) -> dict[str, Any]:
    """A definition; a step given as text is a no-op of that id."""
    whole = [{"id": s, "kind": "Task", "config": {"name": "core.noop"}} if isinstance(s, str) else s for s in steps]
    return {"schema": "staterail.workflow/v1", "steps": whole, "transitions": list(transitions), **settings}


def task(id: str, name: str, **args: Any) -> dict[str, Any]:
    return {"id": id, "kind": "Task", "config": {"name": name, "args": args}}


def approval(id: str = "review", timeout: str | None = None, **config: Any) -> dict[str, Any]:
    step = {"id": id, "kind": "HumanApproval", "config": {"title": f"Decide {id}", **config}}
    return step if timeout is None else {**step, "timeout": timeout}
