"""Reactors, stores, timers and commands in one thread: whatever happens, each run comes to its end once.

What fails names its seed: `python -m runs.tests.simulation SEED` tells that story alone, event by event.
"""

import logging

import pytest

from runs.tests.simulation.story import Story

CHUNK = 25


@pytest.fixture(autouse=True)
def _reactors_need_not_tell(caplog: pytest.LogCaptureFixture) -> None:
    """Their warnings are what is simulated."""
    caplog.set_level(logging.CRITICAL, logger="runs")


def play(seeds: range) -> None:
    for seed in seeds:
        try:
            Story(seed).play()
        except BaseException as error:
            error.add_note(f"seed {seed}: python -m runs.tests.simulation {seed}")
            raise


@pytest.mark.parametrize("first", range(0, 200, CHUNK))
def test_every_run_comes_to_its_end_once_whatever_happens(first):
    play(range(first, first + CHUNK))


@pytest.mark.chaos
@pytest.mark.parametrize("first", range(1_000, 2_000, 100))
def test_every_run_comes_to_its_end_once_in_a_thousand_stories(first):
    play(range(first, first + 100))


def test_a_seed_always_tells_the_same_story():
    told: list[list[str]] = [[], []]

    stories = [Story(7, lines.append).play() for lines in told]

    first, again = ({id: row.events for id, row in story.world.store.rows.items()} for story in stories)
    assert first == again
    assert told[0] == told[1]
