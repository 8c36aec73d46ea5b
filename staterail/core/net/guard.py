"""Which URLs and addresses may be called. Pure: it resolves nothing and connects to nothing.

A URL is parsed once, and the parsed object is what gets requested: two parsers that disagree about
where the host ends are how such guards are usually passed. Python's own `is_global` is not asked,
because it calls NAT64, 6to4 and mapped forms of private addresses global.
"""

import re
import socket
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

import httpx

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORTS = frozenset({80, 443, 8080, 8443})
MAX_URL = 8192  # characters
# 168.63.129.16 is public by number, and Azure's metadata and DNS service from inside.
DENIED_V4 = tuple(map(IPv4Network, [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
    "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    "255.255.255.255/32", "168.63.129.16/32",
]))  # fmt: skip
# All else outside of GLOBAL_V6 is refused without a list: ::1, mapped, NAT64, link-local, multicast, ...
GLOBAL_V6 = IPv6Network("2000::/3")
DENIED_V6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_ENTRY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})(/[^\s?#%\\]*)?")
_OTHER_DOTS = re.compile("[\u3002\uff0e\uff61]")  # IDNA takes them for dots
# Segments and escapes that a server may read as another path than the one compared here.
_AMBIGUOUS_PATH = re.compile(r"/\.\.?(?=[/;]|$)|//|%2e|%2f|%5c|%25|%00|;", re.IGNORECASE)


class Blocked(Exception):
    """The guard refuses. `reason` is its class; the message never echoes the address.

    scheme | userinfo | port | address | host | form | header | redirect
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that passed. `url` is what was judged: request it, and never parse the text again."""

    scheme: str  # http | https
    host: str  # lower case, ASCII, no brackets, no final dot
    port: int
    path_and_query: str
    url: httpx.URL


class _Place(NamedTuple):
    host: str
    port: int
    prefix: str  # "" or "/path", without a final slash


@dataclass(frozen=True, slots=True)
class AllowList:
    """What the operator lets through besides public addresses on the usual ports; all of `own` needs that."""

    places: frozenset[_Place] = frozenset()
    networks: tuple[Network, ...] = ()
    own: frozenset[str] = frozenset()  # StateRail's own hosts, wherever they resolve to; ".a.example" is all below

    @classmethod
    def parse(cls, entries: Iterable[str], own: Iterable[str] = ()) -> "AllowList":
        """Read `host:port`, `host:port/path-prefix`, and addresses or networks like `10.1.0.0/16`.

        `own` takes hosts as ALLOWED_HOSTS does; its `*` says nothing. Raises ValueError naming the entry that
        is none of these.
        """
        places, networks = [], []
        for entry in (text.strip() for text in entries):
            if network := _network(entry):
                networks.append(network)
            elif entry:
                places.append(_place(entry))
        hosts = frozenset(host.strip("[]").lower().removesuffix(".") for host in own) - {"*", ""}
        return cls(frozenset(places), tuple(networks), hosts)

    def covers(self, target: Target) -> bool:
        """Whether an entry names this host and port, and its path prefix if it has one."""
        return any(
            place.host == target.host and place.port == target.port and _is_under(place.prefix, target)
            for place in self.places
        )

    def limits_path(self, target: Target) -> bool:
        """Whether this host and port stand here with path prefixes only."""
        prefixes = [place.prefix for place in self.places if place[:2] == (target.host, target.port)]
        return bool(prefixes) and all(prefixes)

    def is_own(self, target: Target) -> bool:
        """Whether this is StateRail itself, or what it stands on."""
        above = target.host.split(".")
        return target.host in self.own or any("." + ".".join(above[i:]) in self.own for i in range(len(above)))

    def contains(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def check_url(url: str, allow: AllowList) -> Target:
    """Judge a URL by its text, and its address where the host is one. Raises Blocked.

    A port out of the usual is settled by `check_address` where the allow list has networks.
    """
    if len(url) > MAX_URL:
        raise Blocked("form", f"The URL is longer than {MAX_URL} characters.")
    if not url.isprintable() or " " in url or "\\" in url:
        raise Blocked("form", "The URL contains white space, a control character or a backslash.")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        # The library's message tells the parts apart, and nothing else does.
        reason = next((part for part in ("port", "address", "host") if f" {part}" in str(error)), "form")
        raise Blocked(reason, "This is no URL that can be called.") from None
    if parsed.scheme not in ("http", "https"):
        raise Blocked("scheme", "Only http:// and https:// URLs are called.")
    authority = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]
    if "@" in authority or parsed.userinfo:
        raise Blocked("userinfo", "The URL contains a user name: send credentials in a header.")
    if not parsed.raw_host:
        raise Blocked("form", "The URL has no host.")
    host, address = _host(parsed, authority)
    port = parsed.port if parsed.port is not None else 443 if parsed.scheme == "https" else 80
    # The text as it was written: the parser has resolved its dot segments already.
    written = re.split("[?#]", url.partition("://")[2].removeprefix(authority), maxsplit=1)[0]
    target = Target(parsed.scheme, host, port, parsed.raw_path.decode("ascii"), parsed)
    if _AMBIGUOUS_PATH.search(written) and allow.limits_path(target):
        raise Blocked("form", "The URL's path contains '//', ';', dot segments or escaped ones.")
    if port not in PORTS and not allow.covers(target) and (not allow.networks or not 0 < port < 65536):
        raise Blocked("port", "This port is not called: it is not on the allow list.")
    if address:
        check_address(address.compressed, target, allow)
    return target


def check_address(address: str, target: Target, allow: AllowList) -> None:
    """Judge one address that the target's host resolved to; each of them must pass. Raises Blocked."""
    try:
        parsed = ip_address(address)
    except ValueError:
        raise Blocked("address", "The host did not resolve to an address.") from None
    if allow.covers(target) or allow.contains(parsed):
        return
    if target.port not in PORTS:
        raise Blocked("port", "This port is not called: it is not on the allow list.")
    if allow.is_own(target) or not is_public(parsed):
        raise Blocked("address", "The host is, or resolves to, an address that is not called.")


def is_public(address: Address) -> bool:
    """Whether an address belongs to the open internet and is no gateway back to a private one."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in DENIED_V4)
    if address.scope_id is not None or address not in GLOBAL_V6:
        return False
    return not any(address in network for network in DENIED_V6)


def _host(url: httpx.URL, authority: str) -> tuple[str, Address | None]:
    """The host to call and, where it is one, its address."""
    host = url.raw_host.decode("ascii")
    if ":" in host:
        try:
            address = IPv6Address(host)
        except AddressValueError:
            raise Blocked("address", "The URL's host is no address.") from None
        return address.compressed, address
    if _OTHER_DOTS.search(authority) or unicodedata.normalize("NFKC", authority) != authority:
        raise Blocked("host", "The host is written with characters that stand for others.")
    if len(host) > 253 or not _HOST.fullmatch(host) or ".." in host:
        raise Blocked("host", "The URL's host is no host name.")
    host = host.removesuffix(".")
    try:
        return host, IPv4Address(host)
    except AddressValueError:
        pass
    # 127.1, 2130706433, 0x7f.0.0.1, 0177.0.0.1: the resolver takes them for addresses.
    if _NUMBER.fullmatch(host.rpartition(".")[2]) or _is_ipv4_to_c(host):
        raise Blocked("address", "The host is an address in an unusual form.")
    return host, None


def _is_ipv4_to_c(host: str) -> bool:
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


def _is_under(prefix: str, target: Target) -> bool:
    if not prefix:
        return True
    path = target.path_and_query.partition("?")[0]
    return not _AMBIGUOUS_PATH.search(path) and (path == prefix or path.startswith(prefix + "/"))


def _network(entry: str) -> Network | None:
    address, slash, _ = entry.partition("/")
    try:
        ip_address(address)
    except ValueError:
        return None
    try:
        return ip_network(entry)
    except ValueError as error:
        wanted = "a network like 10.1.0.0/16" if slash else "an address"
        raise ValueError(f"Allow list entry {entry!r} is not {wanted}: {error}.") from None


def _place(entry: str) -> _Place:
    match = _ENTRY.fullmatch(entry)
    if not match or not 0 < int(match[2]) < 65536:
        raise ValueError(f"Allow list entry {entry!r} is not host:port, host:port/path-prefix or a network.")
    host = match[1].strip("[]").lower().removesuffix(".")
    prefix = (match[3] or "").rstrip("/")
    if _AMBIGUOUS_PATH.search(prefix):
        raise ValueError(f"Allow list entry {entry!r}: the path may not contain '//', ';' or dot segments.")
    try:
        host = ip_address(host).compressed
    except ValueError:
        if match[1].startswith("["):
            raise ValueError(f"Allow list entry {entry!r}: between the brackets stands no IPv6 address.") from None
    return _Place(host, int(match[2]), prefix)
