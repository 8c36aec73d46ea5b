"""Random graphs, random outcomes, random commands: what holds for every run."""

import contextlib
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.machine.states import StepState
from runs.machine.stimuli import (
    Cancel,
    Due,
    Lost,
    ManualTransition,
    PutBack,
    RetryRun,
    RetryStep,
    StartReady,
    Succeeded,
)  # fmt: skip
from runs.tests.machine.simulation import Simulation, definition, failed
from staterail.core.errors import IllegalTransition

ALL = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

WHENS = [
    None,
    None,
    None,
    "true",
    "false",
    "input.n > 1",
    "input.missing.deep",
    "steps.s0.state == 'succeeded'",
    "input.n",
]


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    n = draw(st.integers(1, 8))
    steps: dict[str, dict[str, Any]] = {}
    for i in range(n):
        extra: dict[str, Any] = {"join": draw(st.sampled_from(["all", "all", "any", "strict_all"]))}
        kind = draw(st.sampled_from(["Task", "Task", "Task", "Delay", "HumanApproval"]))
        if kind == "Delay":
            extra |= {"kind": "Delay", "config": {"for": "5s"}}
        elif kind == "HumanApproval":
            extra |= {"kind": "HumanApproval", "config": {"title": "t"}, "timeout": "1m"}
        else:
            if draw(st.booleans()):
                extra["config"] = {
                    "name": "core.echo",
                    "args": {"x": draw(st.sampled_from(["${input.n}", "${input.no}"]))},
                }
            extra["retry"] = {
                "max_attempts": draw(st.integers(1, 3)),
                "jitter": draw(st.sampled_from(["full", "none"])),
            }
        if draw(st.integers(0, 4)) == 0:
            extra["timeout"] = "2s"
        steps[f"s{i}"] = extra
    transitions = []
    for j in range(1, n):
        for i in draw(st.sets(st.integers(0, j - 1), max_size=min(j, 3))):
            on = draw(st.sampled_from(["success", "success", "success", "failure", "always"]))
            edge: dict[str, Any] = {"on": on}
            when = draw(st.sampled_from(WHENS))
            if on == "success" and draw(st.integers(0, 4)) == 0:
                edge["default"] = True
            elif when is not None:
                edge["when"] = when
            if on == "failure" and draw(st.booleans()):
                edge["errors"] = draw(st.sampled_from([["boom"], ["http_5xx", "timeout"]]))
            transitions.append((f"s{i}", f"s{j}", edge))
    rest: dict[str, Any] = {"on_failure": draw(st.sampled_from(["stop", "continue"]))}
    if draw(st.integers(0, 5)) == 0:
        rest["timeout"] = "20s"
    return definition(steps, *transitions, **rest)


def outcomes(data: st.DataObject) -> Any:
    def outcome(step_id: str, attempt: int, config: Any) -> Any:
        kind = data.draw(st.sampled_from("sssfftlpn"))
        if kind == "s":
            return Succeeded(0, 0, '{"v": 1}')
        if kind == "f":
            code = data.draw(st.sampled_from(["boom", "http_503", "network"]))
            return failed(code, retryable=code != "boom", draw=0.3, retry_after=2 if code == "http_503" else None)
        if kind == "t":
            return failed("timeout", retryable=True)
        if kind == "l":
            return Lost2()
        return PutBack2() if kind == "p" else Succeeded(0, 0, "null")

    return outcome


class Lost2:
    """A loss, made with the attempt that it is of."""

    step = attempt = 0


class PutBack2(Lost2):
    pass


class Random(Simulation):
    def end(self, step: str, attempt: int, outcome: Any) -> None:
        i = self.plan.index[step]
        if isinstance(outcome, Lost2):
            command = self.executing.pop((i, attempt))
            stimulus = PutBack(i, attempt) if isinstance(outcome, PutBack2) else Lost(i, attempt, command.alone)
            self.tell(stimulus)
            return
        super().end(step, attempt, outcome)


def drive(run: Random, data: st.DataObject) -> None:
    """To the end; what waits for a person is decided."""
    for _ in range(100):
        run.drive(outcomes(data))
        if run.over:
            return
        for i in list(run.run.running):
            if run.run.steps[i].reason == "waiting_approval":
                action = data.draw(st.sampled_from(["approve", "reject"]))
                run.tell(ManualTransition(run.plan.ids[i], action, "me"))
                break
    raise AssertionError("the run does not end")


@ALL
@given(graphs(), st.data())
def test_every_run_ends_and_its_log_folds_to_its_rows(graph: dict[str, Any], data: st.DataObject) -> None:
    run = Random(graph, '{"n": 2}', room=data.draw(st.integers(1, 4)))
    drive(run, data)
    run.check()


@ALL
@given(graphs(), st.data())
def test_commands_at_any_time_keep_the_log_legal(graph: dict[str, Any], data: st.DataObject) -> None:
    run = Random(graph, '{"n": 2}', room=2)
    for n in range(data.draw(st.integers(1, 12))):
        step = data.draw(st.sampled_from(run.plan.ids))
        command = data.draw(
            st.sampled_from(
                [
                    Cancel(f"c{n}", None, "me"), RetryRun(f"c{n}", "me"), RetryStep(step, None, f"c{n}", "me"),
                    ManualTransition(step, "approve", "me", None, None, f"c{n}"),
                    StartReady(2, "w"), StartReady(0, "w"),
                ]
            )
        )  # fmt: skip
        with contextlib.suppress(IllegalTransition):
            run.tell(command)
        run.check()
        if run.executing and data.draw(st.booleans()):
            i, attempt = next(iter(run.executing))
            run.end(run.plan.ids[i], attempt, outcomes(data)("", 0, None))
            run.check()
        due = run.next_due()
        if due is not None and data.draw(st.booleans()):
            run.now = max(run.now, due[0])
            run.tell(Due(due[1], 0.5))
            run.check()
    drive(run, data)
    run.check()


@ALL
@given(graphs(), st.data())
def test_a_late_or_repeated_stimulus_changes_nothing(graph: dict[str, Any], data: st.DataObject) -> None:
    run = Random(graph, '{"n": 2}', room=3)
    ended: list[tuple[int, int]] = []
    plain_end = run.end

    def end(step: str, attempt: int, outcome: Any) -> None:
        plain_end(step, attempt, outcome)
        ended.append((run.plan.index[step], attempt))
        i, n = data.draw(st.sampled_from(ended))
        for late in (Succeeded(i, n, "1"), failed(), Lost(i, n), PutBack(i, n)):
            if not isinstance(late, Lost | PutBack):
                late.step, late.attempt = i, n
            assert not run.tell(late).changes

    run.end = end  # type: ignore[method-assign]
    drive(run, data)
    for i, n in ended:
        assert not run.tell(Succeeded(i, n, "1")).changes
    assert not run.tell(Due(None)).changes
    assert not run.tell(StartReady(5, "w")).changes
    run.check()


@ALL
@given(graphs(), st.data())
def test_a_join_fires_once_in_a_generation(graph: dict[str, Any], data: st.DataObject) -> None:
    run = Random(graph, '{"n": 2}', room=3)
    drive(run, data)
    for id in run.plan.ids:
        left_idle = [e for e in run.told(id) if e.state_before == StepState.IDLE]
        assert len(left_idle) == 1
