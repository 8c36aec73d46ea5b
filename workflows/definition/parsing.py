"""From a valid document to a Definition: defaults filled in, durations read, transitions named."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from workflows.definition.durations import parse_duration
from workflows.definition.model import CircuitBreakerPolicy, Definition, RetryPolicy, Step, Transition
from workflows.definition.shape import KINDS
from workflows.definition.validation import transition_ids

JSON = Any


class BrokenDefinition(Exception):
    """A stored definition that this release cannot run."""


def load(document: JSON) -> Definition:
    """The definition of a document that validation let pass. Raises BrokenDefinition for one that it would not."""
    try:
        steps = tuple(_step(step) for step in document["steps"])
        raw = document.get("transitions", [])
        transitions = tuple(_transition(t, id) for t, id in zip(raw, transition_ids(raw), strict=True))
        return Definition(
            steps=steps,
            transitions=transitions,
            input_schema=document.get("input_schema"),
            timeout=_duration(document, "timeout"),
            sla=_duration(document, "sla"),
            on_failure=document.get("on_failure", "stop"),
            max_concurrent_runs=document.get("max_concurrent_runs"),
            output=document.get("output"),
            has_output="output" in document,
        )
    except BrokenDefinition:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenDefinition(f"The definition cannot be read: {type(error).__name__}: {error}") from None


def _step(document: Mapping[str, JSON]) -> Step:
    if document["kind"] not in KINDS:
        raise BrokenDefinition(f"This release has no step kind {str(document['kind'])[:60]!r}.")
    return Step(
        id=document["id"],
        kind=document["kind"],
        name=document.get("name") or document["id"],
        config=document["config"],
        join=document.get("join", "all"),
        retry=_retry(document.get("retry", {})),
        timeout=_duration(document, "timeout"),
        circuit_breaker=_breaker(document["circuit_breaker"]) if "circuit_breaker" in document else None,
        position=document.get("position"),
    )


def _retry(document: Mapping[str, JSON]) -> RetryPolicy:
    default = RetryPolicy()
    errors = document.get("errors")
    return RetryPolicy(
        max_attempts=document.get("max_attempts", default.max_attempts),
        initial_interval=_duration(document, "initial_interval")
        or _zero(document, "initial_interval", default.initial_interval),
        backoff_coefficient=float(document.get("backoff_coefficient", default.backoff_coefficient)),
        max_interval=_duration(document, "max_interval") or _zero(document, "max_interval", default.max_interval),
        jitter=document.get("jitter", default.jitter),
        errors=tuple(errors) if errors is not None else None,
    )


def _breaker(document: Mapping[str, JSON]) -> CircuitBreakerPolicy:
    default = CircuitBreakerPolicy("")
    return CircuitBreakerPolicy(
        key=document["key"],
        failure_threshold=document.get("failure_threshold", default.failure_threshold),
        window=_duration(document, "window") or default.window,
        reset_timeout=_duration(document, "reset_timeout") or default.reset_timeout,
    )


def _transition(document: Mapping[str, JSON], id: str) -> Transition:
    errors = document.get("errors")
    return Transition(
        id=id,
        source=document["from"],
        target=document["to"],
        on=document.get("on", "success"),
        when=document.get("when"),
        default=document.get("default", False),
        errors=tuple(errors) if errors is not None else None,
        label=document.get("label"),
    )


def _duration(document: Mapping[str, JSON], key: str) -> timedelta | None:
    return parse_duration(document[key]) if key in document else None


def _zero(document: Mapping[str, JSON], key: str, default: timedelta) -> timedelta:
    return timedelta(0) if key in document else default
