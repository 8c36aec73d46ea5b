"""Cancel and retry."""

from staterail.testing.definitions import chain, echo, edge, step, task, workflow
from staterail.tests.journeys.scenarios.form import OK, Do, Scenario, approval, fail

COMMANDS = [
    Scenario(
        "a cancel ends what waits at once and what executes soon, takes no edge, and asking twice changes nothing",
        workflow(
            [
                task("busy", "core.sleep", seconds=60),
                step("timer", "Delay", {"for": "1h"}),
                approval("ask"),
                *map(echo, "bc"),
            ],
            [edge("busy", "b"), edge("busy", "c", on="always")],
        ),
        {
            "busy": "failed interrupted 1",
            "timer": "failed interrupted 1",
            "ask": "failed interrupted 1",
            "b": "skipped run_cancelled 0",
            "c": "skipped run_cancelled 0",
        },
        state="cancelled",
        doings=(Do("/cancel", {"reason": "enough"}, "busy", "running"), Do("/cancel")),
    ),
    Scenario(
        "a completed run can be neither cancelled nor retried",
        workflow([echo("a")]),
        {"a": OK},
        doings=tuple(
            Do(path, status=409, code="ILLEGAL_TRANSITION") for path in ("/cancel", "/retry", "/steps/a/retry")
        ),
    ),
    Scenario(
        "a retry of the run takes it up where it failed, with a new budget, and runs nothing twice",
        workflow([echo("a"), task("b", "core.flaky", succeed_on_attempt=2, value=1), echo("c")], chain("a", "b", "c")),
        {"a": OK, "b": "succeeded 2", "c": OK},
        doings=(Do("/retry"),),
        generation=2,
    ),
    Scenario(
        "a retry of a cancelled run goes on with what was interrupted",
        workflow([task("a", "test.sleep_at_first", seconds=60), echo("b")], chain("a", "b")),
        {"a": "succeeded 2", "b": OK},
        doings=(Do("/cancel", {}, "a", "running"), Do("/retry")),
        generation=2,
    ),
    Scenario(
        "a retry of a step may bring another input",
        workflow([fail("a"), echo("b")], chain("a", "b")),
        {"a": "succeeded 2", "b": OK},
        outputs={"a": {"now": "fine"}},
        generation=2,
        doings=(Do("/steps/a/retry", {"input": {"name": "core.echo", "args": {"now": "fine"}}}),),
    ),
    Scenario(
        "a retry of a step in a running run opens what follows it anew",
        workflow(
            [
                task("a", "core.flaky", succeed_on_attempt=2),
                step("wait", "Delay", {"for": "1500ms"}),
                *map(echo, ("yes", "no")),
            ],
            [edge("a", "yes"), edge("a", "no", on="failure")],
        ),
        {"a": "succeeded 2", "wait": OK, "yes": OK, "no": "skipped condition 1"},
        doings=(Do("/steps/a/retry", {}, "no", "succeeded"),),
        generation=2,
    ),
    Scenario(
        "a step that has not failed is not retried",
        workflow([echo("a"), fail("b")]),
        {"a": OK, "b": "failed error 1"},
        state="failed",
        error="no_stock",
        doings=(Do("/steps/a/retry", status=409, code="ILLEGAL_TRANSITION"),),
    ),
]
