"""The ASGI application: Django's, on threads that last, behind bounds on what requests may send.

Django gives every request a thread of its own, and with it a new database connection; a pool of
lasting threads keeps connections open (SQLite: 2 ms a request less).
"""

import asyncio
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import django
from django.core.handlers.asgi import ASGIHandler
from django.db import InterfaceError, OperationalError, close_old_connections

from staterail.bodies import BodyLimit, Scope
from staterail.core.errors import Unavailable, ValidationFailed

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "staterail.settings")

# Django warns as it reads WhiteNoise's files on a thread, whole: what the pages need is a few small ones
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

THREADS = 16


class PooledHandler(ASGIHandler):
    """Runs the whole sync stack of a request on one thread of a pool."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="web")
        super().__init__()

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: Any) -> Any:
        return await self._in_pool(self.get_response, request)

    async def let_in(self, scope: Scope) -> None:
        """Raises Unauthenticated or RateLimited unless a caller that we know sends this."""
        from staterail.accounts.rest.authentication import require_caller

        request, _ = self.create_request(scope, BytesIO())
        if request is None:
            raise ValidationFailed
        try:
            await self._in_pool(require_caller, request)
        except (OperationalError, InterfaceError):
            raise Unavailable(retry_after=1) from None

    async def _in_pool(self, function: Callable[[Any], Any], argument: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, _connected, function, argument)


def _connected(function: Callable[[Any], Any], argument: Any) -> Any:
    close_old_connections()
    try:
        return function(argument)
    finally:
        close_old_connections()


def _application() -> BodyLimit:
    django.setup(set_prefix=False)
    handler = PooledHandler()
    return BodyLimit(handler, handler.let_in)


application = _application()
