from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from runs.store.turns import Turns

A, B, C = (UUID(int=n) for n in (1, 2, 3))


def test_each_tenant_has_its_share_of_the_room() -> None:
    assert Turns().share([A, B, C], 10) == ([A, B, C], 3)


def test_where_tenants_are_more_than_places_each_has_its_turn() -> None:
    turns = Turns()

    served = [turns.share([A, B, C], 2) for _ in range(3)]

    assert served == [([A, B], 1), ([C, A], 1), ([B, C], 1)]


def test_nobody_waiting_or_no_room_serves_nobody() -> None:
    assert Turns().share([], 5) == ([], 0)
    assert Turns().share([A], 0) == ([], 0)


@given(st.sets(st.uuids(), min_size=1, max_size=20), st.integers(1, 10))
def test_nobody_waits_longer_than_a_round(tenants: set[UUID], room: int) -> None:
    waiting, turns = sorted(tenants), Turns()
    rounds = -(-len(waiting) // room)

    served = [id for _ in range(rounds) for id in turns.share(waiting, room)[0]]

    assert set(served) == tenants
