"""The reactor of this process, if it has one. A prefork worker and a short command have none."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runs.reactor.loop import Reactor

_current: "Reactor | None" = None


def current() -> "Reactor | None":
    return _current


def set_current(reactor: "Reactor | None") -> None:
    global _current
    _current = reactor
