"""What the tests of clusters run, and what they read off a log."""

from staterail.testing.definitions import chain, echo, task, workflow

SHORT = workflow([echo("a"), task("b", "core.sleep", seconds=0.05), echo("c")], chain("a", "b", "c"))
LONG = workflow([task("a", "core.sleep", seconds=1.5), echo("b")], chain("a", "b"))
FIVE = workflow([echo(f"s{n}") for n in range(5)], chain(*(f"s{n}" for n in range(5))))


def losses(api, run_id):
    """How its attempts were lost: `lost` with a worker, `orderly` put back by one that stopped."""
    errors = [event["payload"].get("error") or {} for event in api.events(run_id)]
    found = [error for error in errors if error.get("code") == "worker_lost"]
    return ["orderly" if (error.get("details") or {}).get("orderly") else "lost" for error in found]


def starts(api, run_id, step_id):
    """The attempts of a step that began, in order."""
    events = api.events(run_id)
    return [e["attempt"] for e in events if e["event_type"] == "step_started" and e["step_id"] == step_id]
