"""What a failure comes to."""

from staterail.testing.definitions import chain, echo, edge, step, task, workflow
from staterail.tests.journeys.scenarios.form import OK, QUICK, Scenario, fail

FAILURES = [
    Scenario(
        "a failure that nobody handles fails the run, and what follows is skipped",
        workflow([fail("a"), echo("b")], chain("a", "b")),
        {"a": "failed error 1", "b": "skipped condition 0"},
        state="failed",
        error="no_stock",
    ),
    Scenario(
        "a failure that leads on is handled, and the run completes",
        workflow(
            [fail("a"), echo("ok"), echo("refund", why="${steps.a.error.code}")],
            [edge("a", "ok"), edge("a", "refund", on="failure")],
        ),
        {"a": "failed error 1", "ok": "skipped condition 0", "refund": OK},
        outputs={"refund": {"why": "no_stock"}},
    ),
    Scenario(
        "a failure is handled by the edge that lists its code",
        workflow(
            [fail("a", "late"), echo("on_late"), echo("on_other")],
            [
                edge("a", "on_late", on="failure", errors=["late", "lost"]),
                edge("a", "on_other", on="failure", errors=["no_stock"]),
            ],
        ),
        {"a": "failed error 1", "on_late": OK, "on_other": "skipped condition 0"},
    ),
    Scenario(
        "a failure whose code no edge lists fails the run",
        workflow([fail("a", "odd"), echo("b")], [edge("a", "b", on="failure", errors=["late"])]),
        {"a": "failed error 1", "b": "skipped condition 0"},
        state="failed",
        error="odd",
    ),
    Scenario(
        "a stop starts nothing new, but for what an always edge leads to, and lets what runs end",
        workflow(
            [fail("bad"), task("running", "core.sleep", seconds=0.4), echo("next"), echo("cleanup"), echo("after")],
            [edge("running", "next"), edge("running", "cleanup", on="always"), edge("cleanup", "after")],
        ),
        {
            "bad": "failed error 1",
            "running": OK,
            "next": "skipped run_failed 0",
            "cleanup": OK,
            "after": "skipped run_failed 0",
        },
        state="failed",
        error="no_stock",
        takes=0.4,
    ),
    Scenario(
        "continue lets every other branch run to its end before the run fails",
        workflow(
            [fail("bad"), step("wait", "Delay", {"for": "200ms"}), echo("next"), echo("never")],
            [edge("wait", "next"), edge("bad", "never")],
            on_failure="continue",
        ),
        {"bad": "failed error 1", "wait": OK, "next": OK, "never": "skipped condition 0"},
        state="failed",
        error="no_stock",
    ),
    Scenario(
        "an always edge is taken from a success, a failure and a skip alike",
        workflow(
            [echo("good"), fail("bad"), echo("skipped"), echo("g"), echo("b"), echo("s")],
            [
                edge("good", "g", on="always"),
                edge("bad", "b", on="always"),
                edge("skipped", "s", on="always"),
                edge("good", "skipped", when="input.n > 1"),
            ],
        ),
        {"good": OK, "bad": "failed error 1", "skipped": "skipped condition 0", "g": OK, "b": OK, "s": OK},
        input={"n": 0},
    ),
    Scenario(
        "an expression of a config that fails fails its step before an attempt begins",
        workflow([echo("a", v="${input.missing}"), echo("b")], chain("a", "b")),
        {"a": "failed expression_error 0", "b": "skipped condition 0"},
        state="failed",
        error="expression_error",
    ),
    Scenario(
        "a condition that fails is not false: its step has failed",
        workflow(
            [echo("a"), echo("b"), echo("c")], [edge("a", "b", when="input.missing > 1"), edge("a", "c", default=True)]
        ),
        {"a": "failed expression_error 1", "b": "skipped condition 0", "c": "skipped condition 0"},
        state="failed",
        error="expression_error",
    ),
    Scenario(
        "an output of the run that fails fails the run",
        workflow([echo("a")], output={"v": "${input.missing}"}),
        {"a": OK},
        state="failed",
        error="expression_error",
    ),
]
ATTEMPTS = [
    Scenario(
        "a step is tried again until it works",
        workflow([task("a", "core.flaky", step={"retry": QUICK}, succeed_on_attempt=3, value="there")]),
        {"a": "succeeded 3"},
        outputs={"a": "there"},
        takes=0.06,
    ),
    Scenario(
        "the budget of attempts is the end of trying",
        workflow([task("a", "core.flaky", step={"retry": QUICK}, succeed_on_attempt=4)]),
        {"a": "failed error 3"},
        state="failed",
        error="flaky",
    ),
    Scenario(
        "what is not retryable is not tried again",
        workflow([fail("a", retry=QUICK)]),
        {"a": "failed error 1"},
        state="failed",
        error="no_stock",
    ),
    Scenario(
        "an attempt that takes too long ends at its timeout, and the next may",
        workflow([task("a", "test.sleep_at_first", step={"timeout": "200ms", "retry": QUICK}, seconds=30)]),
        {"a": "succeeded 2"},
    ),
    Scenario(
        "a run that takes too long ends at its timeout",
        workflow([step("a", "Delay", {"for": "1h"}), echo("b")], chain("a", "b"), timeout="400ms"),
        {"a": "failed interrupted 1", "b": "skipped run_failed 0"},
        state="failed",
        error="run_timeout",
        takes=0.4,
    ),
]
