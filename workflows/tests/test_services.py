"""Drafts, versions, publishing: what is refused writes nothing."""

import json

import pytest
from django.db import IntegrityError, connection, transaction

from staterail.accounts.models import Tenant
from staterail.accounts.tests.factories import ActorFactory, TenantFactory
from staterail.core.actor import Role
from staterail.core.errors import Conflict, Forbidden, PayloadTooLarge, ValidationFailed
from workflows import services
from workflows.models import Workflow, WorkflowVersion
from workflows.tests.factories import VersionFactory, WorkflowFactory, definition, step
from workflows.versions import definition_hash

pytestmark = pytest.mark.django_db

GOOD = definition()
OTHER = definition(step("b"))
BAD = definition(step(join="most"))


@pytest.fixture
def actor():
    return ActorFactory()


def _workflow(actor, **given):
    return WorkflowFactory(tenant=Tenant.objects.get(id=actor.tenant_id), **given)


def _version(actor, **given):
    return VersionFactory(workflow=_workflow(actor), **given)


def _rows():
    workflows = Workflow.objects.order_by("id").values("id", "name", "slug", "description", "archived_at", "updated_at")
    versions = WorkflowVersion.objects.order_by("id").values()
    return list(workflows), list(versions)


def _refused(error, command, **given):
    """What the command says, after a look that it wrote nothing."""
    before = _rows()
    with pytest.raises(error) as caught:
        command(**given)
    assert _rows() == before
    return caught.value


def test_a_workflow_begins_without_a_version_or_with_a_first_draft(actor):
    empty = services.create_workflow(actor=actor, name="Empty")
    drafted = services.create_workflow(actor=actor, name="Drafted", definition=BAD, description="x\ny")

    assert (empty.slug, empty.tenant_id, empty.versions.count()) == ("empty", actor.tenant_id, 0)
    assert drafted.description == "x\ny"
    values = ("version", "revision", "definition", "definition_hash", "published_at", "tenant_id")
    assert drafted.versions.values(*values).get() == {
        "version": 1, "revision": 1, "definition": BAD, "definition_hash": definition_hash(BAD), "published_at": None,
        "tenant_id": actor.tenant_id,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Order to cash", "order-to-cash"), ("  Ünï_côde!  ", "uni-code"), ("Привет", "workflow"), ("💥", "workflow"),
        ("x" * 200, "x" * 50),
        ("0123456789abcdef" * 2, "workflow-0123456789abcdef0123456789abcdef"), ("-_-", "workflow"),
    ],
)  # fmt: skip
def test_a_slug_is_made_of_the_name(actor, name, slug):
    assert services.create_workflow(actor=actor, name=name).slug == slug


def test_a_made_slug_is_a_free_one_within_the_tenant(actor):
    other = ActorFactory()
    made = [services.create_workflow(actor=who, name="Ship").slug for who in (actor, actor, other, actor)]
    assert made == ["ship", "ship-2", "ship", "ship-3"]


@pytest.mark.parametrize(
    "slug",
    [
        "",
        "A",
        "a b",
        "a_b",
        "-a",
        "a-",
        "a\n",
        "é",
        "x" * 64,
        "0123456789abcdef" * 2,
        "018f0000-0000-7000-8000-000000000000",
    ],
)
def test_a_bad_slug_is_refused(actor, slug):
    error = _refused(ValidationFailed, services.create_workflow, actor=actor, name="x", slug=slug)
    assert [problem["path"] for problem in error.problems] == ["/slug"]


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "a\x00b", "a\u202eb", "a\ud800"])
def test_a_bad_name_is_refused(actor, name):
    error = _refused(ValidationFailed, services.create_workflow, actor=actor, name=name)
    assert [problem["path"] for problem in error.problems] == ["/name"]


@pytest.mark.parametrize("name", ["👩‍👩‍👧", "שלום", "<script>", "{{7*7}}", "${7*7}", "=cmd()", "'; DROP", "x" * 200])
def test_any_name_that_can_be_shown_is_kept_as_it_is(actor, name):
    workflow = services.create_workflow(actor=actor, name=name, description=name)
    workflow.refresh_from_db()
    assert (workflow.name, workflow.description) == (name, name)


def test_a_taken_slug_is_a_conflict_in_the_tenant_only(actor):
    services.create_workflow(actor=actor, name="x", slug="ship")
    services.create_workflow(actor=ActorFactory(), name="x", slug="ship")
    error = _refused(Conflict, services.create_workflow, actor=actor, name="y", slug="ship", definition=GOOD)
    assert error.message == "There is a workflow called ship already."


NOT_EVEN_A_DRAFT = [
    (None, ValidationFailed, "not_an_object"),
    ([1, 2], ValidationFailed, "not_an_object"),
    ("x", ValidationFailed, "not_an_object"),
    (definition(*(step(f"s{n}") for n in range(5_001))), ValidationFailed, "too_large"),
    (definition(output=json.loads("[" * 32 + "]" * 32)), ValidationFailed, "too_deep"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "error", "code"), NOT_EVEN_A_DRAFT)
def test_what_not_even_a_draft_may_be_is_refused(actor, document, error, code):
    workflow = _workflow(actor)
    created = _refused(error, services.create_workflow, actor=actor, name="x", definition=document)
    saved = _refused(error, services.save_draft, actor=actor, workflow=workflow, definition=document)
    assert [problem["code"] for problem in created.problems] == [code]
    assert created.problems == saved.problems


def test_a_definition_past_1_mib_is_too_large_a_payload(actor):
    document = definition(output="x" * 1024 * 1024)
    _refused(PayloadTooLarge, services.create_workflow, actor=actor, name="x", definition=document)
    _refused(PayloadTooLarge, services.save_draft, actor=actor, workflow=_workflow(actor), definition=document)


@pytest.mark.parametrize("value", [float("nan"), {1}, object()])
def test_a_definition_that_is_no_json_is_refused(actor, value):
    _refused(ValidationFailed, services.create_workflow, actor=actor, name="x", definition={"a": value})


def test_a_draft_may_be_incomplete(actor):
    workflow = _workflow(actor)
    for document in ({}, {"steps": 5}, BAD, {**definition(step(kind=[])), "transitions": None}):
        assert services.save_draft(actor=actor, workflow=workflow, definition=document).definition == document


def test_every_save_of_the_draft_raises_its_revision(actor):
    workflow = _workflow(actor)
    first = services.save_draft(actor=actor, workflow=workflow, definition=GOOD)
    second = services.save_draft(actor=actor, workflow=workflow, definition=OTHER, base_revision=1)
    assert (first.version, first.revision, second.version, second.revision) == (1, 1, 1, 2)
    assert (second.id, second.definition_hash) == (first.id, definition_hash(OTHER))


def test_after_a_published_version_there_is_a_new_draft_whose_revisions_go_on(actor):
    workflow = _workflow(actor)
    services.save_draft(actor=actor, workflow=workflow, definition=GOOD)
    services.publish(actor=actor, workflow=workflow)
    draft = services.save_draft(actor=actor, workflow=workflow, definition=OTHER, base_revision=1)
    assert (draft.version, draft.revision, draft.published_at) == (2, 2, None)
    assert workflow.versions.get(version=1).definition == GOOD


def test_a_stale_save_is_a_conflict_also_of_who_edited_the_version_before(actor):
    workflow = _workflow(actor)
    services.save_draft(actor=actor, workflow=workflow, definition=GOOD)
    services.publish(actor=actor, workflow=workflow)
    services.save_draft(actor=actor, workflow=workflow, definition=OTHER, base_revision=1)
    given = {"actor": actor, "workflow": workflow, "definition": GOOD}
    error = _refused(Conflict, services.save_draft, **given, base_revision=1)
    assert error.message == (
        "Version 2 has been saved by somebody else meanwhile: it is at revision 2, this change was made on 1."
    )


def test_publishing_makes_the_draft_current_and_says_who_did_it():
    actor = ActorFactory(name="ada")
    workflow = _workflow(actor)
    services.save_draft(actor=actor, workflow=workflow, definition=definition(max_concurrent_runs=3))
    version = services.publish(actor=actor, workflow=workflow, version=1, base_revision=1, note="first")
    version.refresh_from_db()
    workflow.refresh_from_db()
    assert (version.version, version.revision, version.published_by, version.note) == (1, 1, "ada", "first")
    assert (workflow.updated_at, workflow.max_concurrent_runs) == (version.published_at, 3)


def test_a_definition_with_errors_is_not_published_and_all_problems_are_told(actor):
    workflow = _workflow(actor)
    document = definition(
        step(join="most"), step("b", config={"name": "core.echo", "args": {"x": "${steps.a.output}"}})
    )
    services.save_draft(actor=actor, workflow=workflow, definition=document)
    error = _refused(ValidationFailed, services.publish, actor=actor, workflow=workflow)
    assert [problem["code"] for problem in error.problems] == ["bad_value", "maybe_not_run"]


def test_warnings_do_not_keep_a_version_from_being_published(actor):
    workflow = _workflow(actor)
    document = definition(step("a"), step("b", config={"name": "core.echo", "args": {"x": "${steps.a.output}"}}))
    services.save_draft(actor=actor, workflow=workflow, definition=document)
    assert services.publish(actor=actor, workflow=workflow).published_at is not None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "has no draft"),
        ({"version": 1}, "Version 1 is published already."),
        ({"version": 2}, "Version 2 is unknown."),
    ],
)
def test_without_a_draft_there_is_nothing_to_publish(actor, given, says):
    workflow = VersionFactory(
        workflow=_workflow(actor), tenant_id=actor.tenant_id, tenant=None, published=True
    ).workflow
    error = _refused(Conflict, services.publish, actor=actor, workflow=workflow, **given)
    assert says in error.message


@pytest.mark.parametrize("given", [{"base_revision": 2}, {"version": 7}])
def test_publishing_another_state_than_was_seen_is_a_conflict(actor, given):
    workflow = _version(actor).workflow
    _refused(Conflict, services.publish, actor=actor, workflow=workflow, **given)


def test_an_archived_workflow_is_not_published_even_by_who_saw_it_before(actor):
    workflow = _version(actor).workflow
    seen = Workflow.objects.get(id=workflow.id)
    services.archive(actor=actor, workflow=workflow)
    error = _refused(Conflict, services.publish, actor=actor, workflow=seen)
    assert "archived" in error.message


def test_archiving_twice_is_the_same_as_once_and_can_be_taken_back(actor):
    workflow = _workflow(actor)
    seen = Workflow.objects.get(id=workflow.id)
    at = services.archive(actor=actor, workflow=workflow).archived_at
    assert at is not None
    assert services.archive(actor=actor, workflow=seen).archived_at == at
    assert services.archive(actor=actor, workflow=seen, archived=False).archived_at is None
    assert services.archive(actor=actor, workflow=workflow, archived=False).archived_at is None


@pytest.mark.parametrize(
    ("change", "values"),
    [("definition", '{"x": 1}'), ("published_at", None), ("version", 9), ("note", "x"), ("revision", 9)],
)
def test_a_published_version_is_final_whoever_writes(actor, change, values):
    version = _version(actor, published=True)
    before = _rows()
    with pytest.raises(IntegrityError, match="immutable"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE workflows_workflowversion SET {change} = %s WHERE version = 1", [values])
    with pytest.raises(IntegrityError, match="immutable"), transaction.atomic():
        version.save()
    assert _rows() == before


def test_there_is_one_draft_of_a_workflow_and_one_version_of_a_number(actor):
    workflow = _workflow(actor)
    VersionFactory(workflow=workflow)
    for version in (1, 2):
        with pytest.raises(IntegrityError), transaction.atomic():
            VersionFactory(workflow=workflow, version=version, published=version == 1)


COMMANDS = {
    "create": (Role.EDITOR, lambda actor, workflow: services.create_workflow(actor=actor, name="x")),
    "save": (
        Role.EDITOR,
        lambda actor, workflow: services.save_draft(actor=actor, workflow=workflow, definition=OTHER),
    ),
    "publish": (Role.EDITOR, lambda actor, workflow: services.publish(actor=actor, workflow=workflow)),
    "archive": (Role.ADMIN, lambda actor, workflow: services.archive(actor=actor, workflow=workflow)),
}


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_needs_its_role(command, role):
    lowest, call = COMMANDS[command]
    actor = ActorFactory(role=role)
    workflow = _version(actor).workflow
    if role.rank >= lowest.rank:
        call(actor, workflow)
    else:
        error = _refused(Forbidden, call, actor=actor, workflow=workflow)
        assert "This needs the permission workflows." in error.message


@pytest.mark.parametrize("command", ["save", "publish", "archive"])
def test_a_foreign_workflow_is_nobodys_to_change(command):
    workflow = VersionFactory(workflow__tenant=TenantFactory()).workflow
    _refused(Forbidden, COMMANDS[command][1], actor=ActorFactory(), workflow=workflow)


def test_deploying_creates_updates_and_leaves_alone(actor):
    given = {"actor": actor, "slug": "ship", "name": "Ship"}
    first, second, third = (services.deploy(**given, definition=d) for d in (GOOD, GOOD, OTHER))
    assert [(version.version, changed) for version, changed in (first, second, third)] == [
        (1, True),
        (1, False),
        (2, True),
    ]


def test_deploying_something_wrong_changes_nothing(actor):
    given = {"actor": actor, "slug": "ship", "name": "Ship"}
    _refused(ValidationFailed, services.deploy, **given, definition=BAD)
    services.deploy(**given, definition=GOOD)
    _refused(ValidationFailed, services.deploy, **given, definition=BAD)
    _refused(ValidationFailed, services.deploy, **given, definition=[])


def test_the_hash_is_of_the_document_and_not_of_how_it_is_written():
    assert definition_hash({"a": 1, "b": [1, 2]}) == definition_hash({"b": [1, 2], "a": 1})
    assert len({definition_hash(d) for d in ({"a": 1}, {"a": "1"}, {"a": [1]}, {"a": None}, {"a": True})}) == 5
