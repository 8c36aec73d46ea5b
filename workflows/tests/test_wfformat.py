import copy
from inspect import signature

import pytest

from workflows.definition.validation import validate
from workflows.wfformat import WfFormatError, critical_path_seconds, definition_of

INSTANCE = {
    "workflow": {
        "specification": {
            "tasks": [
                {"id": "split_1", "name": "split", "children": ["work_1", "work_2"], "parents": []},
                {"id": "work_1", "name": "work", "children": ["merge_1"], "parents": ["split_1"]},
                {"id": "work_2", "name": "work", "parents": ["split_1"]},
                {"id": "merge_1", "parents": ["work_1", "work_2"]},
            ]
        },
        "execution": {
            "tasks": [
                {"id": id, "runtimeInSeconds": seconds}
                for id, seconds in (("split_1", 1), ("work_1", 2.5), ("work_2", 10), ("merge_1", 0.25))
            ]
        },
    }
}


def _sleep(id, name, seconds):
    return {"id": id, "name": name, "kind": "Task", "config": {"name": "core.sleep", "args": {"seconds": seconds}}}


def test_tasks_sleep_their_runtime_times_the_scale_and_wait_for_their_parents():
    assert definition_of(INSTANCE, scale=0.1) == {
        "schema": "staterail.workflow/v1",
        "steps": [
            _sleep("t0", "split", 0.1), _sleep("t1", "work", 0.25), _sleep("t2", "work", 1.0),
            _sleep("t3", "merge_1", 0.025),
        ],
        "transitions": [
            {"from": "t0", "to": "t1"}, {"from": "t0", "to": "t2"}, {"from": "t1", "to": "t3"},
            {"from": "t2", "to": "t3"},
        ],
    }  # fmt: skip


def test_what_comes_of_it_is_a_valid_definition():
    assert validate(definition_of(INSTANCE), tasks={"core.sleep": signature(lambda ctx, *, seconds: None)}) == []


def test_the_critical_path_is_the_longest_way():
    assert critical_path_seconds(definition_of(INSTANCE)) == 11.25
    assert critical_path_seconds(definition_of(INSTANCE, scale=0)) == 0
    assert critical_path_seconds({"steps": [], "transitions": []}) == 0


def _with(path, value):
    changed = copy.deepcopy(INSTANCE)
    *way, last = path
    place = changed["workflow"]
    for key in way:
        place = place[key]
    place[last] = value
    return changed


@pytest.mark.parametrize(
    ("instance", "says"),
    [
        ({}, "'workflow' is missing or unknown"),
        ([], "no WfFormat instance"),
        (None, "no WfFormat instance"),
        ({"workflow": []}, "no WfFormat instance"),
        (_with(["execution"], {}), "'tasks' is missing or unknown"),
        (_with(["execution", "tasks"], []), "'split_1' is missing or unknown"),
        (_with(["specification", "tasks", 0, "children"], ["ghost"]), "'ghost' is missing or unknown"),
        (_with(["specification", "tasks", 0, "parents"], [["x"]]), "no WfFormat instance"),
        (_with(["specification", "tasks", 0], 5), "no WfFormat instance"),
        (_with(["specification", "tasks", 1, "id"], "split_1"), "two of its tasks have one id"),
        (_with(["execution", "tasks", 0, "runtimeInSeconds"], "soon"), "no WfFormat instance"),
        (_with(["execution", "tasks", 0, "runtimeInSeconds"], -1), "task split_1 has a runtime of -1.0 s"),
        (_with(["execution", "tasks", 0, "runtimeInSeconds"], float("nan")), "a runtime of nan s"),
    ],
)
def test_anything_else_is_refused_with_what_is_wrong(instance, says):
    with pytest.raises(WfFormatError) as caught:
        definition_of(instance)
    assert says in str(caught.value)
