import base64
import html
import io
import json
import logging
import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from staterail.core import redaction
from staterail.core.redaction import MASK, RedactingFilter, redact, redact_json_text, redact_text

SECRET = 'p@ss/w"örd&<1>+\\x'
TOKEN = "srt_abcdEF12_" + "x" * 43
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"
ORDINARY = [
    "", "a plain line", "Asia/Tokyo", "https://example.org/a@b?x=1:2", "mailto:someone@example.org", "eyJhbGciOi",
    "token", "12:30@noon", "-----BEGIN CERTIFICATE-----", "http://host:8080/users/@me",
]  # fmt: skip


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(SECRET.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        quote(SECRET, safe=""),
        re.sub("%..", lambda escape: escape.group().lower(), quote(SECRET, safe="")),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        html.escape(SECRET),
    ],
)
def test_a_secret_is_taken_out_in_each_form_in_which_it_may_come_back(form):
    assert redact_text(f"before {form} after", (SECRET,)) == f"before {MASK} after"


@given(st.binary(max_size=7), st.text(min_size=8, max_size=40), st.binary(max_size=7))
def test_a_secret_within_a_longer_base64_text_is_not_left_there(before, secret, after):
    encoded = base64.b64encode(before + secret.encode("utf-8", "surrogatepass") + after).decode()
    assert MASK in redact_text(encoded, (secret,))


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(), st.lists, max_leaves=8))
def test_json_text_stays_json_and_means_what_the_walk_makes_of_the_value(value):
    value = {"output": value, "password": "hunter2"}
    assert json.loads(redact_json_text(json.dumps(value), ("hunter2",))) == redact(value, ("hunter2",))


def test_a_secret_shorter_than_four_characters_garbles_nothing():
    assert redact_text("abc and abcd", ("abc",)) == "abc and abcd"


def test_the_longer_of_two_secrets_goes_whole():
    assert redact_text("hunter22", ("hunter", "hunter22")) == MASK


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"key: {PEM} end", f"key: {MASK} end"),
        (PEM[:40], MASK),  # cut off: to the end of the text
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n-----END PGP PRIVATE KEY BLOCK-----", MASK),
        ("id=AKIAIOSFODNN7EXAMPLE;", f"id={MASK};"),
        ("ghp_" + "a1B2" * 9, MASK),
        ("github_pat_" + "a1_B" * 20, MASK),
        ("xoxb-123456789012-abcdef", MASK),
        (f"Bearer {JWT}", f"Bearer {MASK}"),
        (f"token {TOKEN}", f"token {MASK}"),
        ("postgres://bob:hunter2@db:5432/x", f"postgres://{MASK}@db:5432/x"),
        ("redis://:hunter2@cache", f"redis://{MASK}@cache"),
        ("amqp://bob:p@ss@mq/", f"amqp://{MASK}@mq/"),
    ],
)
def test_what_looks_like_a_credential_is_taken_out(text, expected):
    assert redact_text(text) == expected
    assert redact({"a": [text]}) == {"a": [expected]}
    assert json.loads(redact_json_text(json.dumps([text]))) == [expected]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_comes_back_as_it_is(text):
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "key", ["Authorization", "SET-COOKIE", "x_api-key", "apikey", "Private-Key", "token", "secret"]
)
def test_the_name_of_a_field_gives_its_text_away(key):
    assert redact({"deep": [{key: "value"}]}) == {"deep": [{key: MASK}]}
    assert json.loads(redact_json_text(json.dumps({key: "value"}))) == {key: MASK}


@pytest.mark.parametrize(
    "value",
    [
        {
            "token": 5,
            "secret": True,
            "tokens": "many",
            "password": None,
            "cookie": "",
            "api_keys": "x",
            "next_token": "y",
        },
        {"properties": {"password": {"type": "string", "minLength": 12}}},
        {"password": False},
    ],
)
def test_fields_that_only_sound_alike_or_hold_no_credential_stay(value):
    assert redact(value) == value


def test_a_named_field_hides_numbers_and_lists_of_plain_values():
    assert redact({"password": 1234, "set-cookie": ["a=1", "b=2"]}) == {"password": MASK, "set-cookie": MASK}


def test_a_secret_of_digits_is_hidden_where_it_comes_back_as_a_number_or_as_a_key():
    text = redact_json_text('{"pin":48291507,"48291507":1,"n":4829}', ("48291507",))
    assert json.loads(text) == {"pin": MASK, MASK: 1, "n": 4829}


def test_json_spelled_with_escapes_is_no_way_round():
    text = r'{"p\u0061ssword":"x","url":"http:\/\/bob:hunter2@host"}'
    assert json.loads(redact_json_text(text)) == {"password": MASK, "url": f"http://{MASK}@host"}


def test_harmless_json_text_is_not_parsed(monkeypatch):
    monkeypatch.setattr(redaction, "json", None)
    text = '{"ok": true,   "tokens_used": 3, "title": "a token of thanks"}'
    assert redact_json_text(text) is text
    redaction._pattern.cache_clear()
    monkeypatch.undo()
    assert redact_json_text(text, ("hunter2",)) is text


def test_redacting_twice_changes_nothing_more():
    once = redact({"password": "a", "url": "redis://:pw@h", "t": [JWT, SECRET]}, (SECRET,))
    assert redact(once, (SECRET,)) == once


class _Logger:
    def __init__(self) -> None:
        self.stream = io.StringIO()
        handler = logging.StreamHandler(self.stream)
        handler.addFilter(RedactingFilter())
        self.log = logging.Logger("test")
        self.log.addHandler(handler)


def test_a_log_line_loses_credentials_in_message_arguments_and_traceback():
    made = _Logger()
    try:
        raise ValueError(f"bad {TOKEN}")
    except ValueError:
        made.log.exception("got %s from %s", {"Authorization": "Basic abc"}, "redis://:hunter2@h")
    made.log.info("%(password)s", {"password": "hunter2"})
    text = made.stream.getvalue()
    assert "got {'Authorization': '***'} from redis://***@h" in text
    assert "ValueError: bad ***" in text
    assert all(leak not in text for leak in (TOKEN, "hunter2", "Basic abc"))


def test_a_log_call_with_wrong_arguments_neither_raises_nor_leaks():
    made = _Logger()
    made.log.error("%d of %d", TOKEN)
    assert made.stream.getvalue() == "%d of %d ('***',)\n"


def test_a_harmless_record_keeps_its_arguments():
    record = logging.LogRecord("x", logging.INFO, "f", 1, "%s %s", ("a", 1), None)
    assert RedactingFilter().filter(record)
    assert record.args == ("a", 1)
