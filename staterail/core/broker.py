"""Redis as the broker of Celery, unmoved by what is no message.

kombu ends the whole worker ("Unrecoverable error") for one item of a list that it cannot read: whoever reaches
Redis, or a client of another kind with the same key, would stop all workers. Here such an item is dropped.
"""

import logging
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis

logger = logging.getLogger(__name__)
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What reading an item raises; a connection that fails raises something else."""


class Channel(redis.Channel):
    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # the stubs leave it out
        except UNREADABLE as error:
            logger.warning("a message that cannot be read was dropped: %s", type(error).__name__)
            raise Empty from None


class Transport(redis.Transport):
    Channel = Channel


def register() -> None:
    """Use it wherever a broker's address begins with `redis`."""
    TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = f"{__name__}:Transport"
