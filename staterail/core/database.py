"""Is the database there?"""

from django.db import DatabaseError, InterfaceError, connection


def ping() -> bool:
    """Whether the database answers. Never raises."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return bool(cursor.fetchone())
    except (DatabaseError, InterfaceError):
        connection.close()
        return False
