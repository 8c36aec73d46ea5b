"""Sessions in the database that end after `SESSION_COOKIE_AGE` without a request.

They end in any case a week after the sign-in, however often they are used.
"""

import time
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends import db
from django.dispatch import receiver
from django.utils import timezone

LONGEST = timedelta(days=7)
RENEWED_AFTER = timedelta(minutes=5)  # a request writes nothing where one has prolonged the session since
SIGNED_IN_AT = "signed_in_at"  # Unix seconds


class SessionStore(db.SessionStore):
    """Of somebody who signed in too long ago, or nobody knows when, nothing is left."""

    _idle = timedelta(0)  # since it was stored

    def load(self) -> dict[str, Any]:
        data: dict[str, Any] = super().load()
        if SESSION_KEY in data and data.get(SIGNED_IN_AT, 0) + LONGEST.total_seconds() <= time.time():
            self.delete()
            self._session_key = None
            return {}
        if SESSION_KEY in data and self._idle >= RENEWED_AFTER:
            self.modified = True
        return data

    def _get_session_from_db(self) -> Any:
        found = super()._get_session_from_db()  # type: ignore[misc]  # the stubs leave it out
        if found is not None:
            self._idle = timedelta(seconds=self.get_session_cookie_age()) - (found.expire_date - timezone.now())
        return found

    async def aload(self) -> dict[str, Any]:
        return await sync_to_async(self.load)()


@receiver(user_logged_in)
def _note_sign_in(sender: Any, request: Any, **_: Any) -> None:
    request.session[SIGNED_IN_AT] = time.time()
