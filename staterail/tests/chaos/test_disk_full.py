import resource
import time

from staterail.testing.definitions import step, task, workflow
from staterail.testing.server import until

WORK = workflow(
    [task("a", "core.sleep", seconds=0.2), task("b", "core.echo", v="${run.id}"), step("c", "Delay", {"for": "300ms"})]
)


def _no_file_may_grow(instance):
    """As on a full disk: what would make a file longer is refused by the system."""
    sizes = [file.stat().st_size for file in [*instance.data.glob("*.sqlite3*"), instance.data.parent / "up.log"]]
    resource.prlimit(instance.process.pid, resource.RLIMIT_FSIZE, (max(sizes), resource.RLIM_INFINITY))


def _there_is_room_again(instance):
    resource.prlimit(instance.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_a_full_disk_refuses_commands_fails_no_run_and_ends_without_a_restart(own):
    instance = own().start()
    api = instance.api()
    flow = api.publish(WORK)
    runs = api.start_many(flow, 20)
    api.step_in(runs[0], "a", "running")

    _no_file_may_grow(instance)
    refusals = []

    def refused():
        status, answer = api.call("POST", f"/api/v1/workflows/{flow}/runs", {"input": {}})
        if status == 201:  # what was free in the files is not used up yet
            runs.append(answer["id"])
        else:
            refusals.append((status, answer["code"]))
        return len(refusals) > 3

    until(refused, what="the disk is full")
    assert set(refusals) == {(503, "UNAVAILABLE")}
    assert instance.readiness() is not None
    full = time.monotonic()
    before = {id: (run["state"], run["seq"]) for id in runs for run in [api.run(id)]}
    until(lambda: time.monotonic() > full + 1.5)  # the reactor tries, again and again
    after = {id: (run["state"], run["seq"]) for id in runs for run in [api.run(id)]}
    assert after == before

    _there_is_room_again(instance)

    assert {api.ended(id)["state"] for id in runs} == {"completed"}
    assert len(api.runs(workflow_id=flow)) == len(runs)
    assert api.ended(api.start(flow))["state"] == "completed"
    assert instance.command("check_invariants").stdout.strip().endswith("0 are broken")
