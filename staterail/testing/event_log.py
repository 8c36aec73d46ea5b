"""What holds of every run's event log, judged from outside: from REST's answers, with tables of its own."""

from typing import Any

JSON = Any
RUN = {
    (None, "created"), ("created", "pending"), ("pending", "running"), ("pending", "failed"), ("pending", "cancelled"),
    ("running", "running"), ("running", "completed"), ("running", "failed"), ("running", "cancelled"),
    ("failed", "pending"), ("cancelled", "pending"),
}  # fmt: skip
STEP = {
    ("idle", "queued"): "state_changed", ("idle", "skipped"): "state_changed", ("queued", "queued"): "state_changed",
    ("queued", "skipped"): "state_changed", ("queued", "running"): "step_started", ("queued", "failed"): "step_failed",
    ("running", "succeeded"): "step_completed", ("running", "failed"): "step_failed",
    ("running", "queued"): "step_failed", **{(end, again): "state_changed" for end in ("succeeded", "failed", "skipped")
    for again in ("idle", "queued")},
}  # fmt: skip
ENDS = ("succeeded", "failed", "skipped")


def faults(definition: JSON, run: JSON, events: list[JSON]) -> list[str]:
    """What the log says against the rules, against itself or against the run; nothing, if all is well."""
    return [*_order(run, events), *_changes(run, events), *_edges(definition, events)]


def _order(run: JSON, events: list[JSON]) -> list[str]:
    seqs, times = [event["seq"] for event in events], [event["ts"] for event in events]
    wrong = [] if seqs == list(range(1, run["seq"] + 1)) else [f"seq is {seqs[:20]}…, the run's {run['seq']}"]
    return wrong if times == sorted(times) else [*wrong, "time runs back"]


def _changes(run: JSON, events: list[JSON]) -> list[str]:
    wrong, states, attempts = [], dict[str | None, str | None](), dict[str, int]()
    for event in events:
        step, before, after = event["step_id"], event["state_before"], event["state_after"]
        known = states.get(step, "idle" if step else None)
        if before != known:
            wrong.append(f"{event['seq']}: {step} was {known}, not {before}")
        if (before, after) not in RUN if step is None else STEP.get((before, after)) != event["event_type"]:
            wrong.append(f"{event['seq']}: {step} {before} -> {after} as {event['event_type']}")
        if event["event_type"] == "step_started":
            attempts[step] = attempts.get(step, 0) + 1
        if step is not None and event["attempt"] != attempts.get(step, 0):
            wrong.append(f"{event['seq']}: {step} attempt {event['attempt']}, {attempts.get(step, 0)} have begun")
        if step is not None and states.get(None) not in ("running", "pending", "created"):
            wrong.append(f"{event['seq']}: {step} changes in a run that is {states.get(None)}")
        states[step] = after
    rows = {step["step_id"]: (step["state"], step["attempt"]) for step in run["step_runs"]}
    folded = {id: (states.get(id, "idle"), attempts.get(id, 0)) for id in rows}
    return wrong if (folded, states.get(None)) == (rows, run["state"]) else [*wrong, f"{folded} is not {rows}"]


def _edges(definition: JSON, events: list[JSON]) -> list[str]:
    """Every end of a step tells of each of its transitions once; nothing is queued before one to it was taken."""
    outgoing: dict[str, list[str]] = {step["id"]: [] for step in definition["steps"]}
    incoming: dict[str, set[str]] = {step["id"]: set() for step in definition["steps"]}
    for t in definition.get("transitions", []):
        n = sum(name.split(":")[:2] == [t["from"], t["to"]] for name in outgoing[t["from"]])
        name = t.get("id") or f"{t['from']}:{t['to']}" + (f":{n + 1}" if n else "")
        outgoing[t["from"]].append(name)
        incoming[t["to"]].add(name)
    wrong, taken = [], set[str]()
    for event in events:
        step = event["step_id"]
        if step is None:
            continue
        if event["state_after"] in ENDS:
            told = event["payload"]["resolved"]
            if sorted(entry["transition"] for entry in told) != sorted(outgoing[step]):
                wrong.append(f"{event['seq']}: {step} resolved {[entry['transition'] for entry in told]}")
            taken |= {entry["transition"] for entry in told if entry["taken"]}
        elif event["state_before"] in ENDS:
            taken -= set(outgoing[step])
        begins = (event["state_before"], event["state_after"]) == ("idle", "queued")
        if begins and incoming[step] and not incoming[step] & taken:
            wrong.append(f"{event['seq']}: {step} is queued, but nothing led to it")
    return wrong
