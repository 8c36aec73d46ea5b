"""What the kinds of steps do, and what people decide."""

from staterail.testing.definitions import chain, echo, edge, step, workflow
from staterail.tests.journeys.scenarios.form import OK, QUICK, Do, Scenario, approval, approve, reject

KINDS = [
    Scenario(
        "a script computes, and what it prints is in its log",
        workflow(
            [
                step(
                    "a",
                    "Script",
                    {
                        "source": "def main(args):\n    print('sum of', args['xs'])\n    return sum(args['xs'])",
                        "args": {"xs": "${input.xs}"},
                    },
                )
            ]
        ),
        {"a": OK},
        input={"xs": [1, 2, 39]},
        outputs={"a": 42},
        logs={"a": ["sum of [1, 2, 39]"]},
    ),
    Scenario(
        "a script that raises fails with script_error",
        workflow([step("a", "Script", {"source": "def main(args):\n    return 1 // 0"})]),
        {"a": "failed error 1"},
        state="failed",
        error="script_error",
    ),
    Scenario(
        "a script that does not end is ended at its time",
        workflow([step("a", "Script", {"source": "def main(args):\n    while True:\n        pass", "time": "200ms"})]),
        {"a": "failed error 1"},
        state="failed",
        error="script_timeout",
    ),
    Scenario(
        "a script cannot open files",
        workflow([step("a", "Script", {"source": "def main(args):\n    return open('/etc/passwd').read()"})]),
        {"a": "failed error 1"},
        state="failed",
        error="script_error",
    ),
    Scenario(
        "a delay until a time that is past ends at once",
        workflow([step("a", "Delay", {"until": "2020-02-29T12:00:00Z"}), echo("b")], chain("a", "b")),
        {"a": OK, "b": OK},
    ),
    Scenario(
        "an address of this machine is no target of an HttpCall",
        workflow([step("a", "HttpCall", {"url": "http://127.0.0.1:8080/"}, retry=QUICK)]),
        {"a": "failed error 1"},
        state="failed",
        error="blocked_address",
    ),
]
PEOPLE = [
    Scenario(
        "an approval takes its form's data on",
        workflow(
            [
                approval(
                    "ask", form_schema={"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
                ),
                echo("b", n="${steps.ask.output.data.n}", who="${steps.ask.output.actor}"),
            ],
            chain("ask", "b"),
        ),
        {"ask": OK, "b": OK},
        outputs={"b": {"n": 7, "who": "test admin"}},
        doings=(
            approve("ask", data={"n": "many"}, status=400, code="VALIDATION_FAILED"),
            approve("ask", data={"n": 7}),
        ),
    ),
    Scenario(
        "a rejection fails its step",
        workflow([approval("ask"), echo("b")], chain("ask", "b")),
        {"ask": "failed rejected 1", "b": "skipped condition 0"},
        state="failed",
        error="rejected",
        doings=(reject("ask", comment="too dear"),),
    ),
    Scenario(
        "a rejection that leads on is handled",
        workflow(
            [approval("ask"), echo("yes"), echo("no")],
            [edge("ask", "yes"), edge("ask", "no", on="failure", errors=["rejected"])],
        ),
        {"ask": "failed rejected 1", "yes": "skipped condition 0", "no": OK},
        doings=(reject("ask"),),
    ),
    Scenario(
        "an approval that nobody gives in time fails its step, and a later one is refused",
        workflow([approval("ask", timeout="300ms"), step("b", "Delay", {"for": "1s"})], on_failure="continue"),
        {"ask": "failed timeout 1", "b": OK},
        state="failed",
        error="timeout",
        doings=(Do("/steps/ask/transition", {"action": "approve"}, "ask", "failed", 409, "ILLEGAL_TRANSITION"),),
    ),
    Scenario(
        "a decision counts once",
        workflow([approval("ask"), step("b", "Delay", {"for": "300ms"})], chain("ask", "b")),
        {"ask": OK, "b": OK},
        doings=(
            approve("ask"),
            Do("/steps/ask/transition", {"action": "reject"}, "ask", "succeeded", 409, "ILLEGAL_TRANSITION"),
        ),
    ),
]
