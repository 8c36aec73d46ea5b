"""Whether anybody still waits for an attempt: an event that costs nothing until somebody waits on it."""

import threading

_making = threading.Lock()


class Cancellation:
    """The part of threading.Event that executors use. An Event is made at the first `wait`: most attempts never do."""

    __slots__ = ("_event", "_set")

    def __init__(self) -> None:
        self._set = False
        self._event: threading.Event | None = None

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        event = self._event
        if event is not None:
            event.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until it is set, `timeout` seconds at most; whether it is."""
        with _making:
            if self._event is None:
                self._event = threading.Event()
        if self._set:  # also where it was set before the event was there to see
            return True
        return self._event.wait(timeout)
