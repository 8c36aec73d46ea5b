import pytest

from staterail.testing.definitions import chain, echo, edge, task, workflow

MIB = 1024 * 1024
FRAME = len('{"blob":""}')


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    from staterail.testing.server import Instance

    with Instance(tmp_path_factory.mktemp("sizes")) as instance:
        yield instance


def test_one_fan_out_of_5000_steps_and_outputs_of_1_mib_pass_in_400_mb(fresh):
    api = fresh.api()
    leaves = [f"s{n}" for n in range(4_998)]
    fan_out = workflow(
        [task(id, "core.noop") for id in ("root", *leaves, "end")],
        [t for id in leaves for t in (edge("root", id), edge(id, "end"))],
    )
    big = workflow(
        [task("big", "test.big", bytes=MIB - FRAME), echo("after", n="${size(steps.big.output.blob)}")],
        chain("big", "after"),
    )

    wide = api.start(api.publish(fan_out))
    large = api.start_many(api.publish(big), 20)

    assert {api.ended(id, seconds=60)["state"] for id in large} == {"completed"}
    whole = api.step(large[0], "big")
    assert whole["output"] == {"blob": "x" * (MIB - FRAME)}
    assert api.step(large[0], "after")["output"] == {"n": MIB - FRAME}
    run = api.ended(wide, seconds=60)
    assert run["state"] == "completed"
    assert {step["state"] for step in run["step_runs"]} == {"succeeded"}
    assert len(run["step_runs"]) == 5_000
    events = api.events(wide)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert sum(event["event_type"] == "step_completed" for event in events) == 5_000
    assert fresh.peak_memory() < 400 * MIB


def test_an_output_of_one_byte_more_fails_its_step(fresh):
    api = fresh.api()
    run = api.ended(api.start(api.publish(workflow([task("big", "test.big", bytes=MIB - FRAME + 1)]))))
    assert (run["state"], run["error"]["code"]) == ("failed", "output_too_large")
