import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from staterail.accounts.models import Tenant
from staterail.accounts.tests.factories import TenantFactory
from staterail.core.cli import manage_py
from workflows.models import Workflow, WorkflowVersion
from workflows.tests.test_wfformat import INSTANCE

pytestmark = pytest.mark.django_db


@pytest.fixture
def instance(tmp_path):
    path = tmp_path / "montage_2mass.005d.json"
    path.write_text(json.dumps(INSTANCE))
    return path


def _import(*given):
    out = StringIO()
    call_command("import", "wfformat", *map(str, given), stdout=out)
    return out.getvalue().splitlines()


def _refused(*given):
    before = _rows()
    with pytest.raises(CommandError) as caught:
        _import(*given)
    assert _rows() == before
    return str(caught.value)


def _rows():
    return [list(model.objects.order_by("id").values()) for model in (Tenant, Workflow, WorkflowVersion)]


def test_a_recorded_workflow_becomes_one_of_ours(instance):
    assert _import(instance, "--scale", "0.1") == [
        "montage-2mass-005d: version 1 published (4 steps, 4 transitions, critical path 1.1 s)",
        f"Run it: {manage_py()} run montage-2mass-005d --follow",
    ]
    steps = WorkflowVersion.objects.get().definition["steps"]
    assert [step["config"]["args"]["seconds"] for step in steps] == [0.1, 0.25, 1.0, 0.025]


def test_again_it_makes_no_version_but_at_another_scale(instance):
    TenantFactory(slug="acme")
    given = (instance, "--slug", "montage", "--tenant", "acme")
    said = [_import(*given)[0], _import(*given)[0], _import(*given, "--scale", "2")[0]]
    assert said == [
        "montage: version 1 published (4 steps, 4 transitions, critical path 11.2 s)",
        "montage: version 1 is unchanged (4 steps, 4 transitions, critical path 11.2 s)",
        "montage: version 2 published (4 steps, 4 transitions, critical path 22.5 s)",
    ]
    assert Workflow.objects.get().tenant.slug == "acme"


@pytest.mark.parametrize("scale", ["-1", "nan", "1001", "inf"])
def test_a_scale_is_between_0_and_1000(instance, scale):
    assert _refused(instance, f"--scale={scale}") == "--scale is between 0 and 1000."


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "no WfFormat instance"),
        ("[", "This is no JSON"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ("[" * 100_000, "nested more than 500 deep"),
        (json.dumps(INSTANCE).replace('"merge_1"', '"work_1"'), "two of its tasks have one id"),
        (json.dumps(INSTANCE).replace('["split_1"]', '["merge_1"]'), "cycle at /transitions (step t1)"),
    ],
)
def test_a_file_that_is_no_instance_is_told_and_nothing_is_made(instance, text, says):
    instance.write_text(text)
    said = _refused(instance)
    assert said.startswith(f"{instance}: ")
    assert says in said


def test_a_tenant_that_is_not_there_is_not_made(instance):
    assert _refused(instance, "--tenant", "acme") == "There is no tenant 'acme'."


def test_a_bad_slug_is_refused(instance):
    assert "A slug has small letters" in _refused(instance, "--slug", "No Slug")
