"""Random definitions and outcomes: every construct of the language, the failing ones too."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st

from runs.machine.stimuli import Lost, PutBack, Stimulus
from runs.tests.machine.simulation import definition, done, failed

T = TypeVar("T")
INPUT = '{"n": 2}'
SOME = [False, False, False, True]
WHENS = [
    "true", "false", "input.n > 1", "input.n < 1", "input.missing.deep", "input.n", "steps.s0.state == 'succeeded'",
    "steps.s0.output.v == 1", "steps.s0.attempt > 1", "steps.s0.error.code == 'boom'",
]  # fmt: skip
ARGS = [{}, {"x": "${input.n}"}, {"x": "${input.no.where}"}, {"x": "${steps.s0.output.v}"}, {"x": "${secrets.KEY}"}]
TIMES = [{"for": "5s"}, {"for": "0s"}, {"until": "2026-01-01T12:00:07Z"}, {"until": "${input.n}"}]
CODES = ["boom", "network", "http_503", "timeout", "http_404"]


class Dice(Protocol):
    """Where chance comes from: Hypothesis, which makes what fails smaller, or a seed."""

    def pick(self, choices: Sequence[T]) -> T: ...


class Drawn:
    """Dice of Hypothesis."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def pick(self, choices: Sequence[T]) -> T:
        return self._draw(st.sampled_from(choices))


def a_step(dice: Dice) -> dict[str, Any]:
    step: dict[str, Any] = {"join": dice.pick(["all", "all", "any", "strict_all"])}
    kind = dice.pick(["Task", "Task", "Task", "Task", "Delay", "HumanApproval"])
    if kind == "Delay":
        step |= {"kind": kind, "config": dice.pick(TIMES)}
    elif kind == "HumanApproval":
        step |= {"kind": kind, "config": {"title": "t"}, "timeout": "1m"}
    else:
        step["config"] = {"name": "core.echo", "args": dice.pick(dice.pick([ARGS[:2], ARGS]))}
        if dice.pick(SOME):
            step["circuit_breaker"] = {"key": "k"}
    step["retry"] = {"max_attempts": dice.pick([1, 2, 3]), "jitter": dice.pick(["full", "none"])}
    if dice.pick(SOME):
        step["retry"]["errors"] = dice.pick([["boom"], ["http_5xx", "timeout"], ["network"]])
    if dice.pick(SOME):
        step["timeout"] = "2s"
    return step


def an_edge(dice: Dice) -> dict[str, Any]:
    edge: dict[str, Any] = {"on": dice.pick(["success", "success", "success", "failure", "always"])}
    if edge["on"] == "success" and dice.pick(SOME):
        return {**edge, "default": True}
    if edge["on"] == "failure" and dice.pick([False, True]):
        edge["errors"] = dice.pick([["boom"], ["http_5xx", "timeout"], ["expression_error"]])
    if dice.pick([False, True]):
        edge["when"] = dice.pick(WHENS)
    return edge


def a_graph(dice: Dice) -> dict[str, Any]:
    named = {f"s{i}": a_step(dice) for i in range(dice.pick(range(1, 9)))}
    transitions = [
        (f"s{dice.pick(range(j))}", f"s{j}", an_edge(dice))
        for j in range(1, len(named))
        for _ in range(dice.pick(range(4)))  # the same two twice is two transitions
    ]
    rest: dict[str, Any] = {"on_failure": dice.pick(["stop", "continue"])}
    if dice.pick(SOME):
        rest["timeout"] = "20s"
    if dice.pick(SOME):
        rest["output"] = dice.pick(["${steps.s0.state}", "${steps.s0.output.v}"])
    return definition(named, *transitions, **rest)


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    return a_graph(Drawn(draw))


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
