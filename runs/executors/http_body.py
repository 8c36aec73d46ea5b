"""A response body, read up to a limit: what a few kB inflate to is never held whole."""

import codecs
import re
import zlib
from collections.abc import Iterable, Iterator
from email.message import Message

import httpx

from runs.executors.base import JSON
from staterail.core.strict_json import StrictJSONError, loads

CHUNK = 64 * 1024  # bytes inflated at once
# Of Python's codecs only these: others inflate, escape, or give half characters.
_CHARSETS = re.compile(
    r"utf-8|ascii|iso8859-\d+|cp125\d|utf-16(-[lb]e)?|shift_jis|euc_(jp|kr)|iso2022_jp|gb2312|gbk|gb18030|big5|koi8-[ru]"
)
_BOM = b"\xef\xbb\xbf"


class TooLarge(Exception):
    """The body, decompressed, is longer than the limit."""


class Undecodable(Exception):
    """The body is not what its Content-Encoding says."""


def inflated(response: httpx.Response) -> Iterator[bytes]:
    """The body's bytes in pieces of at most CHUNK, decompressed where we asked for the encoding.

    Any other encoding was not asked for: those bytes come as they are. Raises Undecodable.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    assert isinstance(response.stream, httpx.SyncByteStream)
    return _inflate(response.stream, encoding) if encoding in ("gzip", "x-gzip", "deflate") else iter(response.stream)


def read(pieces: Iterable[bytes], limit: int) -> bytes:
    """Join the pieces. Raises TooLarge past `limit` bytes."""
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > limit:
            raise TooLarge
    return bytes(body)


def parsed(body: bytes, content_type: str) -> JSON:
    """JSON where the type says so and it is JSON that can be stored; else text; None if empty."""
    if not body:
        return None
    header = Message()
    header["content-type"] = content_type
    kind = header.get_content_type()
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return loads(body.removeprefix(_BOM))
        except StrictJSONError:
            pass  # many servers send an HTML error page under this type: better a text than a failure
    return text(body, str(header.get_param("charset") or ""))


def text(body: bytes, charset: str = "") -> str:
    """Text that PostgreSQL can store: what cannot be decoded, and NUL, becomes U+FFFD."""
    try:
        codec = codecs.lookup(charset).name if charset.isascii() and charset else "utf-8"
    except (LookupError, ValueError):
        codec = "utf-8"
    known = codec if _CHARSETS.fullmatch(codec) else "utf-8"
    return body.decode(known, "replace").replace("\x00", "\ufffd")


def _inflate(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    first = True
    machine = zlib.decompressobj(47)  # gzip or zlib, whichever its header says
    try:
        for chunk in chunks:
            # "deflate" means zlib, yet some servers send it without zlib's header.
            if first and chunk and encoding == "deflate" and not _is_zlib(chunk):
                machine = zlib.decompressobj(-15)
            first = first and not chunk
            rest = chunk
            while rest:
                if machine.eof:
                    machine = zlib.decompressobj(47)  # gzip may have several members
                yield machine.decompress(rest, CHUNK)
                rest = machine.unconsumed_tail or machine.unused_data
            while not machine.eof and (piece := machine.decompress(b"", CHUNK)):
                yield piece
    except zlib.error as error:
        raise Undecodable from error
    if not first and not machine.eof:
        raise Undecodable


def _is_zlib(chunk: bytes) -> bool:
    return chunk[0] & 0x0F == 8 and (len(chunk) < 2 or (chunk[0] * 256 + chunk[1]) % 31 == 0)
