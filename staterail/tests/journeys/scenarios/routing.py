"""Which steps run, and when."""

from staterail.testing.definitions import chain, echo, edge, step, task, workflow
from staterail.tests.journeys.scenarios.form import BRANCH, OK, Scenario, fork

ROUTING = [
    Scenario(
        "steps in a row run one after the other and hand on what they made",
        workflow(
            [echo("a", n="${input.n}"), echo("b", n="${steps.a.output.n + 1}"), echo("c", n="${steps.b.output.n + 1}")],
            chain("a", "b", "c"),
            output={"n": "${steps.c.output.n}", "said": "got ${steps.c.output.n}"},
        ),
        {"a": OK, "b": OK, "c": OK},
        input={"n": 1},
        output={"n": 3, "said": "got 3"},
    ),
    Scenario(
        "a join of all waits for its slowest branch",
        workflow(
            [
                echo("a"),
                task("quick", "core.noop"),
                step("slow", "Delay", {"for": "400ms"}),
                echo("end", by="${steps.slow.state}"),
            ],
            [*fork("a", "quick", "slow"), edge("quick", "end"), edge("slow", "end")],
        ),
        {"a": OK, "quick": OK, "slow": OK, "end": OK},
        outputs={"end": {"by": "succeeded"}},
        takes=0.4,
    ),
    Scenario(
        "a choice takes the branch whose condition holds, and what is behind the other is skipped",
        workflow(
            [echo("a"), echo("big"), echo("small"), echo("after_small"), echo("end")],
            [
                edge("a", "big", when="input.n > 10"),
                edge("a", "small", default=True),
                *chain("small", "after_small", "end"),
                edge("big", "end"),
            ],
        ),
        {"a": OK, "big": OK, "small": "skipped condition 0", "after_small": "skipped dead_path 0", "end": OK},
        input={"n": 11},
    ),
    Scenario(
        "the default is taken when no condition holds",
        workflow(
            [echo("a"), echo("big"), echo("small")],
            [edge("a", "big", when="input.n > 10"), edge("a", "small", default=True)],
        ),
        {"a": OK, "big": "skipped condition 0", "small": OK},
        input={"n": 3},
    ),
    Scenario(
        "several conditions may hold, and each that does is taken",
        workflow(
            [echo("a"), echo("b"), echo("c"), echo("d"), echo("end")],
            [
                edge("a", "b", **BRANCH),
                edge("a", "c", when="input.n > 2"),
                edge("a", "d", when="input.n > 3"),
                edge("b", "end"),
                edge("c", "end"),
                edge("d", "end"),
            ],
        ),
        {"a": OK, "b": OK, "c": OK, "d": "skipped condition 0", "end": OK},
        input={"n": 3},
    ),
    Scenario(
        "where nothing is taken everything behind is skipped and the run completes",
        workflow([echo("a"), echo("b"), echo("c")], [edge("a", "b", **BRANCH), edge("b", "c")]),
        {"a": OK, "b": "skipped condition 0", "c": "skipped dead_path 0"},
        input={"n": 0},
    ),
    Scenario(
        "a join of any runs once, at the first branch that arrives",
        workflow(
            [
                echo("a"),
                task("quick", "core.noop"),
                step("slow", "Delay", {"for": "600ms"}),
                echo("end", step={"join": "any"}, slow="${steps.slow.state}"),
            ],
            [*fork("a", "quick", "slow"), edge("quick", "end"), edge("slow", "end")],
        ),
        {"a": OK, "quick": OK, "slow": OK, "end": OK},
        outputs={"end": {"slow": "running"}},
        takes=0.6,
    ),
    Scenario(
        "a strict join is skipped when one of its branches was not taken",
        workflow(
            [echo("a"), echo("b"), echo("c"), echo("strict", step={"join": "strict_all"}), echo("plain")],
            [edge("a", "b"), edge("a", "c", **BRANCH), *[edge(s, t) for s in "bc" for t in ("strict", "plain")]],
        ),
        {"a": OK, "b": OK, "c": "skipped condition 0", "strict": "skipped dead_path 0", "plain": OK},
        input={"n": 0},
    ),
    Scenario(
        "parallel edges between two steps are two conditions and one start",
        workflow([echo("a"), echo("b")], [edge("a", "b", **BRANCH), edge("a", "b", when="input.n < 9")]),
        {"a": OK, "b": OK},
        input={"n": 3},
    ),
]
