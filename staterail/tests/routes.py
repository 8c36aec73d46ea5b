"""Every address that this server knows, read off its resolver."""

import re
from collections.abc import Iterator

from django.urls import URLPattern, URLResolver, get_resolver

API = "api/v1/"


def addresses(prefix: str = "", resolver: URLResolver | None = None) -> Iterator[tuple[str, URLPattern]]:
    """(path with `*` for each parameter, pattern)"""
    for entry in (resolver or get_resolver()).url_patterns:
        path = prefix + re.sub(r"<[^>]+>", "*", str(entry.pattern))
        if isinstance(entry, URLResolver):
            yield from addresses(path, entry)
        else:
            yield path, entry


def operations() -> Iterator[tuple[str, str]]:
    """(method, path below /api/v1) of every REST view."""
    for path, pattern in addresses():
        view = getattr(pattern.callback, "view_class", None)
        if path.startswith(API) and view is not None:
            for method in view.http_method_names:
                if method not in ("options", "head") and hasattr(view, method):
                    yield method.upper(), "/" + path.removeprefix(API)
