import pytest

from runs.tests.reactor.fixtures import actor, bench, benches, committed, nothing_broken, rings, stumbling

__all__ = ["actor", "bench", "benches", "committed", "nothing_broken", "rings", "stumbling"]


@pytest.fixture(autouse=True)
def _every_message_is_lost(rings: list[object]) -> None:
    """Doors tell reactors nothing: what must work without."""
