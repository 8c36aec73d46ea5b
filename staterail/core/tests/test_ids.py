from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from staterail.core.ids import derived_hex, derived_uuid7, uuid7, uuid_or_none


def test_ids_are_of_version_7_and_in_order_of_time(monkeypatch):
    millis = iter([1_700_000_000_000, 1_700_000_000_001, 1_800_000_000_000])
    monkeypatch.setattr("time.time_ns", lambda: next(millis) * 1_000_000)
    made = [uuid7() for _ in range(3)]
    assert made == sorted(made)
    assert [(id.version, id.variant) for id in made] == [(7, "specified in RFC 4122")] * 3
    assert made[0].int >> 80 == 1_700_000_000_000


def test_ids_made_one_after_the_other_are_in_order():
    made = [uuid7() for _ in range(2_000)]

    assert made == sorted(made)


def test_ids_of_one_millisecond_differ():
    assert len({uuid7() for _ in range(10_000)}) == 10_000


@given(st.uuids(), st.text())
def test_a_derived_id_as_digits_is_the_same_id(parent, name):
    assert derived_hex(parent, name) == derived_uuid7(parent, name).hex


def test_a_derived_id_is_always_the_same_in_the_millisecond_of_its_parent():
    parent = uuid7()
    made = {name: derived_uuid7(parent, name) for name in ("a", "b", "#1", "#2", "")}
    assert made == {name: derived_uuid7(parent, name) for name in made}
    assert len({parent, *made.values()}) == 6
    assert {(id.version, id.int >> 80) for id in made.values()} == {(7, parent.int >> 80)}
    assert derived_uuid7(uuid7(), "a") != made["a"]


def test_an_id_is_read_with_its_hyphens_or_without():
    id = uuid4()
    assert uuid_or_none(str(id)) == uuid_or_none(str(id).upper()) == uuid_or_none(id.hex) == id


@given(st.text(max_size=40) | st.from_regex(r"[0-9a-f-]{30,40}", fullmatch=True))
def test_what_is_no_id_is_none(text):
    found = uuid_or_none(text)
    assert found is None or text.lower() in (str(found), found.hex)


@pytest.mark.parametrize("form", ["{%s}", "urn:uuid:%s", "%s\n", " %s"])
def test_other_ways_to_write_one_are_none(form):
    text = form % uuid4()
    assert UUID(text.strip())  # Python reads it
    assert uuid_or_none(text) is None
