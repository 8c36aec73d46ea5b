"""The rows of RELIABILITY.md 4.3, judged with a resolver of the test's own: nothing is connected to."""

from ipaddress import ip_address, ip_network

import pytest

from staterail.core.net.guard import AllowList, Blocked, Target, check_address, check_url, is_public

NOTHING = AllowList()
PUBLIC = "93.184.216.34"
PUBLIC_V6 = "2606:2800:220:1:248:1893:25c8:1946"
NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "metadata.google.internal": ["169.254.169.254"],
    "loopback.example": ["127.0.0.1"],
    "mixed.example": [PUBLIC, "10.0.0.1"],
    "mixed6.example": [PUBLIC_V6, "::ffff:10.0.0.1"],
    "scoped.example": ["fe80::1%eth0"],
    "nonsense.example": ["not an address"],
    "public.example": [PUBLIC, PUBLIC_V6],
    "internal.example": ["10.1.2.3"],
    "xn--mller-kva.example": [PUBLIC],
}


def judge(url: str, allow: AllowList = NOTHING) -> Target:
    target = check_url(url, allow)
    for address in NAMES.get(target.host, [target.host]):
        check_address(address, target, allow)
    return target


ADDRESS, FORM = {"address"}, {"form", "scheme"}
ROWS = [
    (1, "http://127.0.0.1/", ADDRESS),
    (2, "http://localhost/", ADDRESS),
    (2, "http://LOCALHOST/", ADDRESS),
    (2, "http://localhost./", ADDRESS),
    (3, "http://127.1/", ADDRESS),
    (3, "http://127.0.1/", ADDRESS),
    (4, "http://0/", ADDRESS),
    (4, "http://0.0.0.0/", ADDRESS),
    (5, "http://2130706433/", ADDRESS),
    (6, "http://0x7f000001/", ADDRESS),
    (6, "http://0x7f.0.0.1/", ADDRESS),
    (6, "http://0X7F.1/", ADDRESS),
    (7, "http://0177.0.0.1/", ADDRESS),
    (7, "http://017700000001/", ADDRESS),
    (7, "http://127.0.0.1./", ADDRESS),
    (7, "http://8.8.8.08/", ADDRESS),
    (7, "http://999.1.1.1/", ADDRESS),
    (7, "http://134744072/", ADDRESS),  # 8.8.8.8: public, and still no canonical form
    (7, "http://127%2e0%2e0%2e1/", {"host"}),
    (8, "http://127.255.255.254/", ADDRESS),
    (9, "http://[::1]/", ADDRESS),
    (9, "http://[::]/", ADDRESS),
    (10, "http://[::ffff:127.0.0.1]/", ADDRESS),
    (10, "http://[::ffff:7f00:1]/", ADDRESS),
    (10, "http://[0:0:0:0:0:ffff:127.0.0.1]/", ADDRESS),
    (11, "http://[::127.0.0.1]/", ADDRESS),
    (12, "http://[64:ff9b::7f00:1]/", ADDRESS),
    (12, "http://[64:ff9b:1::1]/", ADDRESS),
    (13, "http://[2002:7f00:1::]/", ADDRESS),
    (14, "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", ADDRESS),
    (15, "http://[fe80::1%25eth0]/", ADDRESS),
    (15, "http://[fe80::1%eth0]/", ADDRESS),
    (15, "http://scoped.example/", ADDRESS),
    (16, "http://[fc00::1]/", ADDRESS),
    (16, "http://[fd00:ec2::254]/", ADDRESS),
    (17, "http://[fec0::1]/", ADDRESS),
    (17, "http://[ff02::1]/", ADDRESS),
    (17, "http://[3fff::1]/", ADDRESS),
    (17, "http://[5f00::1]/", ADDRESS),
    (17, "http://[100::1]/", ADDRESS),
    (17, "http://[2001:db8::1]/", ADDRESS),
    (18, "http://169.254.169.254/latest/meta-data/", ADDRESS),
    (19, "http://2852039166/", ADDRESS),
    (19, "http://0xa9fea9fe/", ADDRESS),
    (19, "http://0251.0376.0251.0376/", ADDRESS),
    (19, "http://169.254.43518/", ADDRESS),
    (20, "http://[::ffff:169.254.169.254]/", ADDRESS),
    (21, "http://metadata.google.internal/", ADDRESS),
    (21, "http://100.100.100.200/", ADDRESS),
    (21, "http://192.0.0.192/", ADDRESS),
    (21, "http://168.63.129.16/", ADDRESS),
    (22, "http://10.0.0.1/", ADDRESS),
    (22, "http://172.16.0.1/", ADDRESS),
    (22, "http://172.31.255.255/", ADDRESS),
    (22, "http://192.168.0.1/", ADDRESS),
    (22, "http://198.18.0.1/", ADDRESS),
    (22, "http://192.0.2.1/", ADDRESS),
    (22, "http://198.51.100.1/", ADDRESS),
    (22, "http://203.0.113.1/", ADDRESS),
    (23, "http://224.0.0.1/", ADDRESS),
    (23, "http://192.0.0.8/", ADDRESS),
    (23, "http://192.88.99.1/", ADDRESS),
    (23, "http://240.0.0.1/", ADDRESS),
    (23, "http://255.255.255.255/", ADDRESS),
    (24, "http://①②⑦.⓪.⓪.①/", {"host"}),
    (24, "http://127。0。0。1/", {"host"}),
    (24, "http://8。8。8。8/", {"host"}),
    (24, "http://ⓛocalhost/", {"host"}),
    (24, "http://１２７.0.0.1/", {"host"}),
    (24, "http://public.exam\u200bple/", {"form"}),
    (25, "http://loopback.example/", ADDRESS),
    (25, "http://nonsense.example/", ADDRESS),
    (26, "http://mixed.example/", ADDRESS),
    (26, "http://mixed6.example/", ADDRESS),
    (29, "http://user:pass@127.0.0.1/", {"userinfo"}),
    (29, "http://public.example@127.0.0.1/", {"userinfo"}),
    (29, "http://127.0.0.1#@public.example/", ADDRESS),
    (29, "http://public.example\\@127.0.0.1/", {"form"}),
    (29, "http://@public.example/", {"userinfo"}),
    (30, "http://public.example:22/", {"port"}),
    (30, "http://public.example:6379/", {"port"}),
    (30, "http://public.example:5432/", {"port"}),
    (30, "http://public.example:0/", {"port"}),
    (30, "http://public.example:65536/", {"port"}),
    (30, "http://public.example:65616/", {"port"}),  # 80 in 16 bits
    (30, "http://public.example:-80/", {"port"}),
    (30, "http://public.example:80:80/", {"port"}),
    (30, "http://public.example:x/", {"port"}),
    (31, "file:///etc/passwd", FORM),
    (31, "gopher://public.example/", FORM),
    (31, "dict://public.example/", FORM),
    (31, "ftp://public.example/", FORM),
    (31, "ldap://public.example/", FORM),
    (31, "jar:http://public.example!/", FORM),
    (31, "data:text/plain,hello", FORM),
    (31, "unix:/run/docker.sock", FORM),
    (31, "//127.0.0.1/", FORM),
    (31, "HTTP:127.0.0.1", FORM),
    (31, "http:/\\127.0.0.1", FORM),
    (31, "http:///127.0.0.1", FORM),
    (31, "public.example/", FORM),
    (31, "", FORM),
    (32, "http://public.example/\r\nX: y", {"form"}),
    (32, "http://public.example/\x00", {"form"}),
    (32, "http://public.example/\t", {"form"}),
    (32, " http://public.example/", {"form"}),
    (32, "http://public.example/a b", {"form"}),
    (32, "http://public.example/\u2028", {"form"}),
    (32, "http://public.example/\ud800", {"form"}),
    (32, "http://public.example/" + "a" * 9000, {"form"}),
    (0, "http://-public.example/", {"host"}),
    (0, "http://public..example/", {"host"}),
    (0, "http://xn--a.example:1/", {"host", "port"}),
    (0, "http://" + "a" * 260 + ".example/", {"host"}),
    (0, "http://[::1/", {"form", "address", "host", "port"}),
]


@pytest.mark.parametrize(("row", "url", "reasons"), ROWS, ids=[f"{row}-{url[:40]!a}" for row, url, _ in ROWS])
def test_every_refused_form_is_refused_with_its_reason(row: int, url: str, reasons: set[str]) -> None:
    with pytest.raises(Blocked) as caught:
        judge(url)

    assert caught.value.reason in reasons
    assert not any(part in caught.value.message for part in ("127.", "169.254", "10.0", "::", "example"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://public.example/", ("http", "public.example", 80, "/")),
        ("https://Public.Example./a?b=c#d", ("https", "public.example", 443, "/a?b=c")),
        ("http://public.example", ("http", "public.example", 80, "/")),
        ("https://public.example:8443/x/../y", ("https", "public.example", 8443, "/y")),
        ("http://public.example:8080/", ("http", "public.example", 8080, "/")),
        ("http://public.example/a@b", ("http", "public.example", 80, "/a@b")),
        ("https://müller.example/ü", ("https", "xn--mller-kva.example", 443, "/%C3%BC")),
        (f"http://{PUBLIC}/", ("http", PUBLIC, 80, "/")),
        (f"http://[{PUBLIC_V6}]/", ("http", PUBLIC_V6, 80, "/")),
        ("http://172.32.0.1/", ("http", "172.32.0.1", 80, "/")),
        ("http://100.128.0.1/", ("http", "100.128.0.1", 80, "/")),
    ],
)
def test_a_public_target_passes(url: str, expected: tuple[str, str, int, str]) -> None:
    target = judge(url)

    assert (target.scheme, target.host, target.port, target.path_and_query) == expected


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("127.0.0.1:9000", "http://127.0.0.1:9000/x"),
        ("localhost:9000", "http://LOCALHOST:9000/"),
        ("LocalHost:80", "http://localhost/"),
        ("internal.example:5000", "http://internal.example:5000/"),
        ("[::1]:9000", "http://[0:0::1]:9000/"),
        ("10.1.0.0/16", "http://internal.example:5000/"),
        ("10.1.0.0/16", "http://10.1.255.1/"),
        ("10.1.2.3", "http://10.1.2.3:7/"),
        ("fd00::/8", "http://[fd00::7]:9000/"),
        ("internal.example:80/api", "http://internal.example/api"),
        ("internal.example:80/api/", "http://internal.example/api/v1?x=/../"),
    ],
)
def test_an_allow_entry_lets_through_what_it_names(entry: str, url: str) -> None:
    judge(url, AllowList.parse([" ", entry]))


@pytest.mark.parametrize(
    ("entry", "url", "reason"),
    [
        ("127.0.0.1:9000", "http://127.0.0.1:9001/", "port"),
        ("127.0.0.1:9000", "http://localhost:9000/", "port"),
        ("127.0.0.1:9000", "http://127.0.0.1/", "address"),
        ("127.0.0.1:9000", "http://127.1:9000/", "address"),
        ("10.1.0.0/16", "http://10.2.0.1/", "address"),
        ("10.1.0.0/16", "http://public.example:22/", "port"),
        ("10.1.0.0/16", "http://public.example:0/", "port"),
        ("10.1.0.0/16", "http://mixed.example/", "address"),
        ("internal.example:80/api", "http://internal.example/", "address"),
        ("internal.example:80/api", "http://internal.example/apix", "address"),
        ("internal.example:80/api", "http://internal.example/api/../admin", "form"),
        ("internal.example:80/api", "http://internal.example/x/../api/y", "form"),
        ("internal.example:80/api", "http://internal.example/api/%2e%2e/admin", "form"),
        ("internal.example:80/api", "http://internal.example/api/..%2fadmin", "form"),
        ("internal.example:80/api", "http://internal.example/api/%252e%252e/admin", "form"),
        ("internal.example:80/api", "http://internal.example/api/..;/admin", "form"),
        ("internal.example:80/api", "http://internal.example//api", "form"),
        ("internal.example:9000/api", "http://internal.example:9000/admin", "port"),
    ],
)
def test_an_allow_entry_lets_nothing_else_through(entry: str, url: str, reason: str) -> None:
    with pytest.raises(Blocked) as caught:
        judge(url, AllowList.parse([entry]))

    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "entry",
    ["host", "host:", "host:0", "host:65536", "host:x", "http://host:80", "10.1.2.3/16", "10.1.0.0/99", "*:80",
     "user@host:80", "host:80/a/../b", "host:80/a%2fb", "host:80/a b", "[host]:80", "::1:80/"],
)  # fmt: skip
def test_an_entry_that_means_nothing_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="Allow list entry") as caught:
        AllowList.parse([entry])

    assert entry in str(caught.value)


OWN = ["rail.example", ".below.example", "[::1]", "*", ""]


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("http://rail.example/", True),
        ("https://RAIL.example.:8443/", True),
        ("http://a.rail.example/", False),
        ("http://notrail.example/", False),
        ("http://below.example/", True),
        ("http://a.b.below.example/", True),
        ("http://notbelow.example/", False),
    ],
)
def test_our_own_hosts_are_refused_wherever_they_resolve_to(url: str, refused: bool) -> None:
    allow = AllowList.parse([], OWN)
    target = check_url(url, allow)

    if not refused:
        check_address(PUBLIC, target, allow)
        return
    with pytest.raises(Blocked) as caught:
        check_address(PUBLIC, target, allow)
    assert caught.value.reason == "address"


@pytest.mark.parametrize(
    ("entry", "url", "address"),
    [
        ("rail.example:80", "http://rail.example/", PUBLIC),
        ("rail.example:80/demo", "http://rail.example/demo/echo", "10.0.0.1"),
        ("10.0.0.0/8", "http://rail.example/", "10.0.0.1"),
        ("::1", "http://[::1]:9000/", "::1"),
    ],
)
def test_an_operator_may_allow_our_own_hosts(entry: str, url: str, address: str) -> None:
    allow = AllowList.parse([entry], OWN)

    check_address(address, check_url(url, allow), allow)


def test_every_network_of_the_deny_list_is_refused_from_end_to_end() -> None:
    networks = (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
        "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 "
        "255.255.255.255/32 ::/128 ::1/128 ::/96 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/23 "
        "2001:db8::/32 2002::/16 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8"
    )

    ends = [end for text in networks.split() for end in (ip_network(text)[0], ip_network(text)[-1])]

    assert [str(end) for end in ends if is_public(end)] == []


@pytest.mark.parametrize("address", ["1.1.1.1", "9.255.255.255", "11.0.0.0", "128.0.0.0", "223.255.255.255"])
def test_what_stands_beside_the_deny_list_is_public(address: str) -> None:
    assert is_public(ip_address(address))
