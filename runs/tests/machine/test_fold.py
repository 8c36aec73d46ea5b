"""The fold and the audit find what is wrong with a log: each breach of the rules, forged into one that was right."""

from collections.abc import Callable
from typing import Any

import pytest

from runs.machine.audit import audit
from runs.machine.fold import fold
from runs.machine.stimuli import Lost, RetryRun
from runs.tests.machine.simulation import Simulation, by_step, definition, done, failed, flaky

Log = list[dict[str, Any]]


def rich() -> Simulation:
    """Two generations: a retry with its wait, a skip, an always, an unhandled failure, then success."""
    document = definition(
        {
            "a": {"retry": {"max_attempts": 2, "jitter": "none"}},
            "b": {},
            "c": {"join": "any"},
            "f": {},
            "h": {},
            "z": {},
        },
        "a b",
        ("a", "c", {"when": "false"}),
        ("f", "h", {"on": "always", "when": "steps.f.attempt > 1"}),
        "f z",
        "b z",
        on_failure="continue",
    )
    run = Simulation(document, room=1).drive(by_step(a=[flaky(), done()], f=[failed(), done()]))
    assert (run.state, run.states["z"], run.states["h"]) == ("failed", "succeeded", "skipped")
    run.tell(RetryRun("again"))
    return run.drive()


def find(log: Log, step_id: str | None, after: str, *, before: str | None = None) -> dict[str, Any]:
    """The first event of that change."""
    found = (e for e in log if e["step_id"] == step_id and e["state_after"] == after)
    return next(e for e in found if before in (None, e["state_before"]))


def test_a_log_that_is_right_has_nothing_wrong() -> None:
    run = rich()

    assert (run.state, fold(run.rows()).wrong, audit(run.plan.definition, run.rows())) == ("completed", [], [])


def alert(seq: int, run: Simulation) -> dict[str, Any]:
    none = dict.fromkeys(("step_id", "item_index", "attempt", "state_before", "state_after"))
    return {**run.rows()[-1], **none, "event_type": "alert_triggered", "seq": seq, "payload": {"rule": "slow"}}


def test_an_alert_may_come_at_any_time_and_changes_nothing() -> None:
    run = rich()
    log = [*run.rows(), alert(len(run.events) + 1, run), alert(len(run.events) + 2, run)]

    folded = fold(log)

    assert (folded.wrong, audit(run.plan.definition, log)) == ([], [])
    assert (folded.state, folded.seq) == ("completed", len(log))


FORGERIES: dict[str, tuple[Callable[[Log], Any], str]] = {
    "a gap in seq": (lambda log: log[4].update(seq=99), "seq 99 follows 4"),
    "an event is missing": (lambda log: log.pop(5), "seq 7 follows 5"),
    "time runs back": (lambda log: log[6].update(ts=log[0]["ts"].replace(year=2000)), "time runs back"),
    "another state before": (lambda log: log[3].update(state_before="running"), "but it was"),
    "a run change that is not in the table": (
        lambda log: find(log, None, "running").update(state_after="completed"), "run pending -> completed",
    ),
    "a step change that is not in the table": (
        lambda log: find(log, "a", "running").update(state_after="succeeded", payload={"resolved": []}),
        "a queued -> succeeded",
    ),
    "an attempt is left out": (lambda log: find(log, "b", "running").update(attempt=2), "attempt 2 after 0"),
    "an attempt of another": (lambda log: find(log, "b", "succeeded").update(attempt=7), "attempt 7, but it is 1"),
    "a generation is left out": (
        lambda log: [e.update(generation=3) for e in log if e["generation"] == 2], "generation 3 after 1",
    ),
    "a generation runs back": (lambda log: log[-1].update(generation=1), "generation 1 after 2"),
    "the run ends with open steps": (lambda log: log.pop(-2), "ends with open steps"),
    "a step changes after the end": (
        lambda log: log.insert(-1, log.pop()), "changes while the run is completed",
    ),
    "a change is told twice": (
        lambda log: find(log, "a", "running", before="queued").update(corr_id="x")
        or log.append({**log[-1], "seq": log[-1]["seq"] + 1}),
        "told twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_the_fold_finds(name: str) -> None:
    forge, expected = FORGERIES[name]
    log = rich().rows()

    forge(log)

    assert any(expected in wrong for wrong in fold(log).wrong), fold(log).wrong


def resolved(log: Log, step_id: str, n: int, **changed: Any) -> None:
    event = next(e for e in log if e["step_id"] == step_id and "resolved" in e["payload"])
    event["payload"]["resolved"][n].update(changed)


def without(log: Log, step_id: str, after: str) -> None:
    log.remove(find(log, step_id, after))


RULES: dict[str, tuple[Callable[[Log], Any], str]] = {
    "a step queued before its join was decided": (lambda log: without(log, "a", "succeeded"), "b: is queued, but"),
    "a step queued though nothing led there": (lambda log: resolved(log, "a", 0, taken=False), "b: is queued, but"),
    "a step skipped though something led there": (lambda log: resolved(log, "a", 1, taken=True), "c: is skipped, but"),
    "a skip for another reason": (
        lambda log: find(log, "c", "skipped")["payload"].update(reason="dead_path"), "c: is skipped for dead_path",
    ),
    "a transition that resolves twice": (
        lambda log: log.insert(-1, find(log, "b", "succeeded")), "b:z resolves twice",
    ),
    "a transition that nobody told of": (
        lambda log: find(log, "a", "succeeded")["payload"]["resolved"].pop(), "does not tell how each",
    ),
    "a failure transition taken by a success": (
        lambda log: resolved(log, "f", 1, taken=True), "f:z is taken although the step failed",
    ),
    "a run that completes although a step failed": (
        lambda log: find(log, None, "failed").update(state_after="completed"), "completes although f failed unhandled",
    ),
    "a run that fails with another error": (
        lambda log: find(log, None, "failed")["payload"]["error"].update(code="other"), "fails with other of f",
    ),
    "a retry past its budget": (
        lambda log: log.insert(9, {**find(log, "a", "queued", before="running")}), "is tried again after 2 of 2",
    ),
    "a ceiling that is not the rule's": (
        lambda log: find(log, "a", "queued", before="running")["payload"].update(ceiling_ms=5), "ceiling_ms is 5",
    ),
    "a wait below what no jitter allows": (
        lambda log: find(log, "a", "queued", before="running")["payload"].update(delay_ms=5), "delay_ms 5 is not in",
    ),
    "a wait above max_interval": (
        lambda log: find(log, "a", "queued", before="running")["payload"].update(delay_ms=90_000), "is not in",
    ),
    "an attempt that begins before it is due": (
        lambda log: find(log, "a", "queued", before="running")["payload"].update(due_at="2030-01-01T00:00:00+00:00"),
        "a: starts before 2030",
    ),
    "a step that is not in the definition": (
        lambda log: find(log, "b", "running").update(step_id="x"), "x: there is no such step",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_the_audit_finds(name: str) -> None:
    forge, expected = RULES[name]
    run = rich()
    log = run.rows()

    forge(log)

    found = audit(run.plan.definition, log)
    assert any(expected in wrong for wrong in found), found


def test_the_audit_finds_a_step_that_starts_in_a_stopped_run() -> None:
    run = Simulation(definition("f a b", "a b"), room=2).start()
    run.finish("f", failed()).finish("a")
    log = run.rows()
    find(log, "b", "skipped").update(state_after="queued")

    assert any("b: is queued although a failure stopped" in wrong for wrong in audit(run.plan.definition, log))


def test_the_audit_finds_poison_after_too_few_losses() -> None:
    run = Simulation(definition("a")).start()
    for alone in (False, False, True):
        run.tell(Lost(0, run.row("a").attempt, alone))
        run.start()
    log = run.rows()
    lost = find(log, "a", "queued", before="running")
    lost["payload"]["error"]["details"] = {"orderly": True}

    assert audit(run.plan.definition, run.rows()) == []
    assert any("a: is poison after 1 losses" in wrong for wrong in audit(run.plan.definition, log))
