import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from staterail.accounts.models import Tenant
from staterail.accounts.tests.factories import TenantFactory
from workflows.models import Workflow, WorkflowVersion
from workflows.tests.factories import definition, edge, step

pytestmark = pytest.mark.django_db


@pytest.fixture
def written(tmp_path):
    """Writes a definition into a file of this name: its path."""

    def write(name, document):
        path = tmp_path / name
        path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
        return path

    return write


def _deploy(*given):
    out = StringIO()
    call_command("deploy", *map(str, given), stdout=out)
    return out.getvalue().splitlines()


def _refused(*given):
    """What the command says, after a look that it wrote nothing."""
    before = _rows()
    with pytest.raises(CommandError) as caught:
        _deploy(*given)
    assert _rows() == before
    return str(caught.value)


def _rows():
    return [list(model.objects.order_by("id").values()) for model in (Tenant, Workflow, WorkflowVersion)]


def test_files_become_published_workflows_named_after_them(written):
    files = written("order_to_cash.json", definition()), written("Ship.It.yaml", "{schema: staterail.workflow/v1, "
            "steps: [{id: a, kind: Task, config: {name: core.noop}}]}")  # fmt: skip
    assert _deploy(*files) == ["order-to-cash: version 1 published", "ship-it: version 1 published"]
    rows = WorkflowVersion.objects.order_by("workflow__slug")
    assert list(rows.values_list("workflow__slug", "workflow__name", "tenant__slug", "published_by", "version")) == [
        ("order-to-cash", "Order to cash", "default", "deploy", 1),
        ("ship-it", "Ship it", "default", "deploy", 1),
    ]


def test_warnings_are_told_and_keep_nothing_from_being_published(written):
    document = definition(step("a"), step("b"), transitions=[edge("a", "b", when="input.n > 1")])
    warning = "  warning no_default at /steps/0 (step a): Every transition on success has a condition and none is"
    for said in ("published", "is unchanged"):
        first, *more = _deploy(written("a.json", document))
        assert first == f"a: version 1 {said}"
        assert [line[: len(warning)] for line in more] == [warning]


def test_a_file_that_did_not_change_makes_no_version_and_one_that_did_makes_the_next(written):
    assert _deploy(written("a.json", definition())) == ["a: version 1 published"]
    assert _deploy(written("a.json", definition())) == ["a: version 1 is unchanged"]
    assert _deploy(written("a.json", definition(step("b")))) == ["a: version 2 published"]


def test_slug_name_and_tenant_can_be_given(written):
    TenantFactory(slug="acme")
    _deploy(written("a.json", definition()), "--slug", "ship", "--name", "Ship it now", "--tenant", "acme")
    workflow = Workflow.objects.get()
    assert (workflow.slug, workflow.name, workflow.tenant.slug) == ("ship", "Ship it now", "acme")


def test_one_bad_file_among_fifty_stops_them_all_and_is_named_with_its_step(written):
    files = [written(f"w{n}.json", definition()) for n in range(49)]
    bad = written("bad.json", definition(step("ok"), step("odd", join="most", x=1)))
    said = _refused(*files[:25], bad, *files[25:])
    assert said.splitlines() == [
        f"{bad}: The definition has errors: it cannot be published.",
        "  error bad_value at /steps/1/join (step odd): `join`: this is one of all, any, strict_all",
        "  error unknown_key at /steps/1/x (step odd): 'x' is not known here; there are id, kind, name, config, join,"
        " retry, timeout, circuit_breaker, position",
    ]


@pytest.mark.parametrize(
    ("name", "document", "says"),
    [
        ("a.json", "[1]", "A definition is a JSON object"),
        ("a.json", '{"a": 1, "a": 2}', "The key 'a' stands twice"),
        ("a.yaml", "a: &x 1", "line 1: anchors and aliases"),
        ("a.yaml", "", "The file is empty: it says nothing of a workflow."),
        ("a.yaml", "# to come\n", "The file is empty"),
        ("a.json", "", "The file is empty"),
        ("a.yaml", "steps:\n  - id: a\n   kind: Task\n", "line 3: the indentation does not fit the lines above"),
        ("a.yaml", "steps:\n\t- id: a\n", "line 2: a tab cannot indent"),
        ("a.json", definition(output="x" * 1024 * 1024), "1 MiB"),
        ("é.json", definition(), "'é' is no slug. A slug has small letters, digits and hyphens"),
        ("-.json", definition(), "Give one with --slug."),
        ("0123456789abcdef0123456789abcdef.json", definition(), "is no id"),
    ],
)
def test_a_bad_file_is_told_by_name(written, name, document, says):
    path = written(name, document)
    said = _refused(path)
    assert said.startswith(f"{path}: ")
    assert says in said


def test_what_cannot_be_meant_is_refused(written, tmp_path):
    one, two = written("one.json", definition()), written("two.json", definition())
    same = written("one.yaml", "a: 1")
    assert "go with a single file" in _refused(one, two, "--slug", "x")
    assert "go with a single file" in _refused(one, two, "--name", "x")
    assert _refused(one, same) == f"{same}: {one} is called one too."
    assert "No such file" in _refused(tmp_path / "none.json")
    assert _refused(one, "--slug", "No Slug").startswith("--slug: 'No Slug' is no slug. A slug has small letters")
    assert "200 is the most" in _refused(one, "--name", "x" * 201)


@pytest.mark.parametrize(
    ("typed", "meant"), [("acne", " Did you mean 'acme'?"), ("defalt", " Did you mean 'default'?"), ("other", "")]
)
def test_a_tenant_that_is_not_there_is_not_made_but_asked_about(written, typed, meant):
    TenantFactory(slug="acme")
    said = _refused(written("a.json", definition()), "--tenant", typed)
    assert said == f"There is no tenant {typed!r}.{meant}"


def test_an_archived_workflow_is_not_deployed(written):
    _deploy(written("a.json", definition()))
    Workflow.objects.update(archived_at="2026-01-01T00:00:00Z")
    assert "archived" in _refused(written("a.json", definition(step("b"))))
