"""A run that starts runs by calling StateRail stops itself: each stands one deeper, five at most."""

import pytest

from runs.models import WorkflowRun
from runs.tests.rest.client import flow

pytestmark = pytest.mark.django_db


@pytest.fixture
def workflow(api):
    return api.published(flow("a"))


@pytest.mark.parametrize(("header", "depth"), [({}, 0), ({"StateRail_Depth": "0"}, 0), ({"StateRail_Depth": "5"}, 5)])
def test_a_run_knows_how_deep_it_stands(api, workflow, header, depth):
    status, run = api.post(f"/workflows/{workflow}/runs", {}, **header)

    assert (status, WorkflowRun.objects.get(id=run["id"]).depth) == (201, depth)


@pytest.mark.parametrize("depth", ["6", "-1", "x", "", "1.0", " 1", "٣"])
def test_what_is_no_depth_starts_nothing(api, workflow, depth):
    for path, body in ((f"/workflows/{workflow}/runs", {}), (f"/workflows/{workflow}/runs/batch", {"runs": [{}]})):
        status, answer = api.post(path, body, StateRail_Depth=depth)
        assert (status, answer["code"]) == (400, "VALIDATION_FAILED")
    assert not WorkflowRun.objects.exists()
