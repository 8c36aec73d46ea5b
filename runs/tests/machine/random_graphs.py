"""Random definitions and outcomes: every construct of the language, the failing ones too."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from runs.machine.stimuli import Lost, PutBack, Stimulus
from runs.tests.machine.simulation import definition, done, failed

INPUT = '{"n": 2}'
SOME = st.integers(0, 3).map(lambda n: n == 0)
WHENS = [
    "true", "false", "input.n > 1", "input.n < 1", "input.missing.deep", "input.n", "steps.s0.state == 'succeeded'",
    "steps.s0.output.v == 1", "steps.s0.attempt > 1", "steps.s0.error.code == 'boom'",
]  # fmt: skip
ARGS = [{}, {"x": "${input.n}"}, {"x": "${input.no.where}"}, {"x": "${steps.s0.output.v}"}, {"x": "${secrets.KEY}"}]
TIMES = [{"for": "5s"}, {"for": "0s"}, {"until": "2026-01-01T12:00:07Z"}, {"until": "${input.n}"}]
CODES = ["boom", "network", "http_503", "timeout", "http_404"]


@st.composite
def steps(draw: st.DrawFn) -> dict[str, Any]:
    step: dict[str, Any] = {"join": draw(st.sampled_from(["all", "all", "any", "strict_all"]))}
    kind = draw(st.sampled_from(["Task", "Task", "Task", "Task", "Delay", "HumanApproval"]))
    if kind == "Delay":
        step |= {"kind": kind, "config": draw(st.sampled_from(TIMES))}
    elif kind == "HumanApproval":
        step |= {"kind": kind, "config": {"title": "t"}, "timeout": "1m"}
    else:
        step["config"] = {"name": "core.echo", "args": draw(st.sampled_from(ARGS[:2] if draw(st.booleans()) else ARGS))}
        if draw(SOME):
            step["circuit_breaker"] = {"key": "k"}
    step["retry"] = {"max_attempts": draw(st.integers(1, 3)), "jitter": draw(st.sampled_from(["full", "none"]))}
    if draw(SOME):
        step["retry"]["errors"] = draw(st.sampled_from([["boom"], ["http_5xx", "timeout"], ["network"]]))
    if draw(SOME):
        step["timeout"] = "2s"
    return step


@st.composite
def edges(draw: st.DrawFn) -> dict[str, Any]:
    edge: dict[str, Any] = {"on": draw(st.sampled_from(["success", "success", "success", "failure", "always"]))}
    if edge["on"] == "success" and draw(SOME):
        return {**edge, "default": True}
    if edge["on"] == "failure" and draw(st.booleans()):
        edge["errors"] = draw(st.sampled_from([["boom"], ["http_5xx", "timeout"], ["expression_error"]]))
    if draw(st.booleans()):
        edge["when"] = draw(st.sampled_from(WHENS))
    return edge


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    named = {f"s{i}": step for i, step in enumerate(draw(st.lists(steps(), min_size=1, max_size=8)))}
    transitions = [
        (f"s{i}", f"s{j}", draw(edges()))
        for j in range(1, len(named))
        for i in draw(st.lists(st.integers(0, j - 1), max_size=3))  # the same one twice is two transitions
    ]
    rest: dict[str, Any] = {"on_failure": draw(st.sampled_from(["stop", "continue"]))}
    if draw(SOME):
        rest["timeout"] = "20s"
    if draw(SOME):
        rest["output"] = draw(st.sampled_from(["${steps.s0.state}", "${steps.s0.output.v}"]))
    return definition(named, *transitions, **rest)


def outcomes(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Callable[[str, int, Any], Stimulus | None]:
    """How an attempt ends, drawn anew for each; None: it does not, until its timeout or the run's end."""

    def outcome(step_id: str, attempt: int, config: Any) -> Stimulus | None:
        kind = draw(st.sampled_from(["done", "done", "done", "null", "failed", "failed", "lost", "put back", "hangs"]))
        if kind == "failed":
            code = draw(st.sampled_from(CODES))
            after = draw(st.sampled_from([None, 2.0, 500.0])) if code == "http_503" else None
            return failed(
                code,
                retryable=code not in ("boom", "http_404"),
                draw=draw(st.sampled_from([0.0, 0.3])),
                retry_after=after,
            )
        return {"done": done({"v": 1}), "null": done(), "lost": Lost(0, 0), "put back": PutBack(0, 0)}.get(kind)

    return outcome
