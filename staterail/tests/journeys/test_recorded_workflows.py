"""Scientific workflows that really ran, in WfFormat: a diamond of our own, and recorded ones where they lie."""

import json
from datetime import datetime

import pytest

from staterail.testing.left_out import WFINSTANCES

MONTAGE = WFINSTANCES / "montage-chameleon-2mass-015d-001.json"
NAMES, SECONDS = "abcdefgh", [0.2, 0.5, 0.1, 0.4, 0.3, 0.1, 0.6, 0.2]
EDGES = ["ab", "ac", "ad", "be", "ce", "de", "df", "eg", "fg", "gh", "ch"]
FILES = [
    pytest.param(None, 1.0, id="our own"),
    *([pytest.param(MONTAGE, 0.1, id=MONTAGE.stem)] if MONTAGE.is_file() else []),
]


def _instance():
    """A small instance; every other edge is told by the child's parents alone."""
    told = [(source, target) for source, target in EDGES]
    tasks = [
        {
            "id": f"task_{name}",
            "name": f"stage {name}",
            "children": [f"task_{target}" for source, target in told[::2] if source == name],
            "parents": [f"task_{source}" for source, target in told[1::2] if target == name],
        }
        for name in NAMES
    ]
    runtimes = [
        {"id": f"task_{name}", "runtimeInSeconds": seconds} for name, seconds in zip(NAMES, SECONDS, strict=True)
    ]
    return {
        "name": "ours", "schemaVersion": "1.5",
        "workflow": {"specification": {"tasks": tasks}, "execution": {"tasks": runtimes}},
    }  # fmt: skip


def _critical_path(definition):
    """Seconds of the longest way, by relaxing every edge as often as there are steps in a row."""
    cost = {step["id"]: step["config"]["args"]["seconds"] for step in definition["steps"]}
    ends = dict(cost)
    for _ in cost:
        before = dict(ends)
        for t in definition["transitions"]:
            ends[t["to"]] = max(ends[t["to"]], ends[t["from"]] + cost[t["to"]])
        if ends == before:
            break
    return max(ends.values())


def _seconds(first, last):
    return (datetime.fromisoformat(last["ts"]) - datetime.fromisoformat(first["ts"])).total_seconds()


@pytest.mark.parametrize(("file", "scale"), FILES)
def test_an_imported_workflow_keeps_the_order_of_every_edge_and_is_as_quick_as_its_longest_way(
    shared, api, tmp_path, file, scale
):
    if file is None:
        file = tmp_path / "ours.json"
        file.write_text(json.dumps(_instance()))
    slug = f"imported-{file.stem[:40]}".lower()

    imported = shared.command("import", "wfformat", str(file), "--scale", str(scale), "--slug", slug)
    assert imported.stdout.startswith(f"{slug}: version 1 published (")
    followed = shared.command("run", slug, "--follow", seconds=120)

    assert "completed" in followed.stdout
    definition = api.must("GET", f"/api/v1/workflows/{slug}/versions/1")["definition"]
    events = api.events(followed.stdout.split()[1])
    started = {e["step_id"]: e["seq"] for e in events if e["event_type"] == "step_started"}
    ended = {e["step_id"]: e["seq"] for e in events if e["event_type"] == "step_completed"}
    assert started.keys() == ended.keys() == {step["id"] for step in definition["steps"]}
    wrong = [(t["from"], t["to"]) for t in definition["transitions"] if ended[t["from"]] > started[t["to"]]]
    assert wrong == []
    first = next(e for e in events if e["event_type"] == "run_started")
    assert _seconds(first, events[-1]) <= 1.5 * _critical_path(definition) + 1


def test_both_ways_to_tell_an_edge_are_read_and_runtimes_are_scaled(shared, api, tmp_path):
    file = tmp_path / "told.json"
    file.write_text(json.dumps(_instance()))

    shared.command("import", "wfformat", str(file), "--scale", "0.5")

    definition = api.must("GET", "/api/v1/workflows/told/versions/1")["definition"]
    names = {step["id"]: step["name"][-1] for step in definition["steps"]}
    assert sorted(names[t["from"]] + names[t["to"]] for t in definition["transitions"]) == sorted(EDGES)
    naps = {names[step["id"]]: step["config"]["args"]["seconds"] for step in definition["steps"]}
    assert naps == {name: seconds / 2 for name, seconds in zip(NAMES, SECONDS, strict=True)}


@pytest.mark.parametrize("text", ["", '{"workflow": {"specification": {"tasks": [{"id": "a"}]}}}'])
def test_a_file_that_is_no_instance_is_refused_in_words_and_nothing_is_made(shared, api, tmp_path, text):
    file = tmp_path / "no-instance.json"
    file.write_text(text)
    refused = shared.command("import", "wfformat", str(file), status=1)
    assert str(file) in refused.stderr
    assert "Traceback" not in refused.stderr
    assert api.call("GET", "/api/v1/workflows/no-instance")[0] == 404
