"""The served JSON Schema and the validator say the same of a definition's shape."""

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.definition.schema import json_schema
from workflows.definition.shape import CONFIG, DEFINITION, STEP, TRANSITION
from workflows.definition.validation import validate
from workflows.tests.factories import TASKS, definition, edge, step

SCHEMA = jsonschema.Draft202012Validator(json_schema())
AB = (step("a"), step("b"))
OF_SHAPE = {"bad_value", "unknown_key", "missing_key", "bad_id", "unknown_kind", "bad_schema_version", "no_steps"}


def _validator_accepts(document):
    return not any(problem["code"] in OF_SHAPE for problem in validate(document, tasks=TASKS))


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_the_schema_knows_the_keys_of_the_table():
    schema = json_schema()
    assert set(schema["properties"]) == set(DEFINITION.rules)
    assert set(schema["$defs"]["step"]["properties"]) == set(STEP.rules)
    assert set(schema["$defs"]["transition"]["properties"]) == set(TRANSITION.rules)
    assert len(schema["$defs"]["step"]["allOf"]) == len(CONFIG)


VALUES = [
    None, True, False, 0, 1, 5, 100, 101, 1.5, -1, "", "x", "a b", "30s", "1h30m", "soon", "-5s", "9999", "all", "any",
    "full", "success", "failure", "stop", "GET", "2xx", "${input.x}", "n=${input.x}", [], ["timeout"], ["2xx", 404],
    [5], ["${input.x}"], ["role:operator"], {}, {"x": 1}, {"x": 1, "y": 2}, {"key": "k"}, {"max_attempts": 3},
    {"max_attempts": 0}, {"max_attempts": "3"}, {"times": 3}, {"jitter": "none", "initial_interval": "500ms"},
    {"errors": ["timeout"]}, "x" * 201, "a\nb", "a\n", "a\x07b", "a\u202eb",
    "2026-01-31T08:00:00Z", "2026-01-31", "2026-W01-1", "2026-01-31T08:00:00+02:00", "20260131",
]  # fmt: skip


ONLY_THE_VALIDATOR_CAN_TELL = [
    ("Script.time", "1h30m"),  # how long a duration is that is written as text
    *(("Script.source", value) for value in VALUES),  # whether a text is a script
]


def _placed(value):
    """A document for every key that there is, with `value` there."""
    for key in DEFINITION.rules:
        yield f"definition.{key}", {**definition(*AB), key: value}
    for key in STEP.rules:
        yield f"step.{key}", definition({**step("a"), key: value})
    for key in TRANSITION.rules:
        yield f"transition.{key}", definition(*AB, transitions=[{**edge("a", "b"), key: value}])
    full = {
        "HttpCall": {"url": "x"},
        "Task": {"name": "core.echo"},
        "HumanApproval": {"title": "x"},
        "Script": {"source": "main = print"},
    }
    for kind, shape in CONFIG.items():
        for key in shape.rules:
            yield f"{kind}.{key}", definition(step("a", kind=kind, config={**full.get(kind, {}), key: value}))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(value)[:20] or "empty")
def test_a_value_anywhere_is_accepted_by_both_or_refused_by_both(value):
    told = {place: (SCHEMA.is_valid(document), _validator_accepts(document)) for place, document in _placed(value)}
    differing = [(place, value) for place, (schema, validator) in told.items() if schema != validator]
    assert differing == [one for one in differing if one in ONLY_THE_VALIDATOR_CAN_TELL]


@pytest.mark.parametrize(
    "document",
    [
        {}, [], None, definition(schema="other"), {**definition(), "steps": []}, definition(x=1), definition(5),
        definition(step("A")), definition(step(kind="Odd")), definition(step(x=1)),
        definition({"id": "a", "kind": "Task"}),
        definition(step(kind="Delay", config={})), definition(step(kind="Delay", config={"for": 1, "until": "x"})),
        definition(step(kind="HttpCall", config={"url": "x", "body": 1, "text": "x"})),
        definition(step(kind="HttpCall", config={"method": "GET"})),
        definition(step(config={"name": "core.noop", "x": 1})),
        definition(*AB, transitions=[{"from": "a"}]), definition(*AB, transitions=[edge("a", "b", x=1)]),
        definition(*AB, transitions=[edge("a", "b", default=True, when="true")]),
        definition(*AB, transitions=[edge("a", "b", default=True, on="failure")]),
        definition(*AB, transitions=[edge("a", "b", errors=["x"])]),
        definition(*AB, transitions=[edge("a", "b", errors=["x"], on="always")]),
    ],
)  # fmt: skip
def test_both_refuse(document):
    assert (SCHEMA.is_valid(document), validate(document, tasks=TASKS) == []) == (False, False)


_durations = st.sampled_from(["500ms", "30s", "1h30m", 1, 2.5])
_retries = st.fixed_dictionaries(
    {},
    optional={
        "max_attempts": st.integers(1, 100), "initial_interval": _durations, "max_interval": _durations,
        "backoff_coefficient": st.floats(1, 100), "jitter": st.sampled_from(["full", "none"]),
        "errors": st.lists(st.sampled_from(["timeout", "http_5xx", "network"]), max_size=3),
    },
)  # fmt: skip
_steps = st.fixed_dictionaries(
    {"kind": st.just("Task"), "config": st.just({"name": "core.noop"})},
    optional={
        "name": st.text("abc é👩", min_size=1, max_size=200), "join": st.sampled_from(["all", "any", "strict_all"]),
        "retry": _retries, "timeout": _durations, "circuit_breaker": st.just({"key": "k", "window": "1m"}),
        "position": st.fixed_dictionaries({"x": st.integers(-500, 500), "y": st.floats(-500, 500)}),
    },
)  # fmt: skip


@st.composite
def _definitions(draw):
    steps = [{"id": f"s{n}", **one} for n, one in enumerate(draw(st.lists(_steps, min_size=1, max_size=4)))]
    pairs = [(a["id"], b["id"]) for n, a in enumerate(steps) for b in steps[n + 1 :]]
    edges = draw(st.lists(st.sampled_from(pairs), max_size=4)) if pairs else []
    more = st.sampled_from([{}, {"on": "failure", "errors": ["timeout"]}, {"default": True}, {"when": "input.x"}])
    transitions = [edge(a, b, **draw(more)) for a, b in edges]
    defaults = [t["from"] for t in transitions if "default" in t]
    twice = {id for id in defaults if defaults.count(id) > 1}  # only the validator can tell
    return definition(*steps, transitions=[t for t in transitions if not ("default" in t and t["from"] in twice)])


@given(_definitions())
def test_both_accept_what_is_right(document):
    errors = [problem for problem in validate(document, tasks=TASKS) if problem["severity"] == "error"]
    assert (SCHEMA.is_valid(document), errors) == (True, [])
