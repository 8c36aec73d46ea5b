"""Held against brute force: every way through a small graph, every run that it allows."""

import time
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.definition.graph import Certainty, shortest_cycle, topological_order


@st.composite
def _graphs(draw, most=7):
    ids = [f"s{n}" for n in range(draw(st.integers(1, most)))]
    pairs = st.tuples(st.sampled_from(ids), st.sampled_from(ids))
    return ids, draw(st.lists(pairs, max_size=2 * most))


@st.composite
def _acyclic(draw, most=6):
    """(ids, edges (source, target, plain), joins, ends): sources stand before targets."""
    ids = [f"s{n}" for n in range(draw(st.integers(1, most)))]
    pairs = [(a, b) for n, a in enumerate(ids) for b in ids[n + 1 :]]
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=10)) if pairs else []
    edges = [(a, b, draw(st.booleans())) for a, b in chosen]
    joins = {id: draw(st.sampled_from(["all", "all", "any", "strict_all"])) for id in ids}
    sinks = [id for id in ids if all(source != id for source, _, _ in edges)]
    return ids, edges, joins, sinks


def _cycles(ids, edges):
    """Lengths of all simple cycles."""
    pairs = set(edges)
    for size in range(1, len(ids) + 1):
        for around in permutations(ids, size):
            if all((around[n], around[(n + 1) % size]) in pairs for n in range(size)):
                yield size


@given(_graphs(most=5))
def test_the_cycle_told_is_a_shortest_one_and_none_is_told_where_there_is_none(graph):
    ids, edges = graph
    shortest = next(_cycles(ids, edges), None)

    cycle = shortest_cycle(ids, edges)

    assert (cycle and len(cycle) - 1) == shortest
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert set(zip(cycle, cycle[1:], strict=False)) <= set(edges)


@given(_graphs())
def test_the_order_has_sources_first_and_misses_what_is_in_or_behind_a_cycle(graph):
    ids, edges = graph
    behind = {id for id in ids if any(_reaches(edges, start, id) for start in ids if _reaches(edges, start, start))}

    order = topological_order(ids, edges)

    assert sorted(order) == [id for id in ids if id not in behind]
    placed = {id: n for n, id in enumerate(order)}
    assert all(placed[a] < placed[b] for a, b in edges if b in placed)


def _reaches(edges, source, target):
    seen, waiting = set(), [source]
    while waiting:
        here = waiting.pop()
        for a, b in edges:
            if a == here and b not in seen:
                seen.add(b)
                waiting.append(b)
    return target in seen


def _ways(edges, start_steps, end):
    """Every way from a start step to `end`, as sets of the steps on it."""
    if end in start_steps:
        yield frozenset({end})
    for source in {a for a, b, _ in edges if b == end}:
        for way in _ways(edges, start_steps, source):
            yield way | {end}


def _on_every_way(edges, start_steps, step, end):
    return all(step in way for way in _ways(edges, start_steps, end))


def _sure(ids, edges, joins):
    """Start steps, and what an unconditional success transition reaches from a sure step."""
    sure = set()
    for id in ids:
        into = [plain and source in sure for source, target, plain in edges if target == id]
        if not into or (all(into) if joins[id] == "strict_all" else any(into)):
            sure.add(id)
    return sure


def _awaits(edges, joins, step, reader):
    """Whether a way leads from `step` to `reader` without an `any` join between."""
    if joins[reader] == "any":
        return False
    sources = {a for a, b, _ in edges if b == reader}
    return step in sources or any(_awaits(edges, joins, step, source) for source in sources)


@given(_acyclic())
def test_sure_before_a_reader_is_what_is_on_every_way_or_awaited_and_sure_to_run(graph):
    ids, edges, joins, ends = graph
    start_steps = {id for id in ids if all(target != id for _, target, _ in edges)}
    sure = _sure(ids, edges, joins)

    certainty = Certainty(ids, edges, joins, ends)

    for reader in ids:
        for step in ids:
            expected = step != reader and (
                _on_every_way(edges, start_steps, step, reader)
                or (step in sure and _awaits(edges, joins, step, reader))
            )
            assert certainty.before(reader, step) == expected, (reader, step)
            assert certainty.after(reader, step) == (expected or step == reader)


@given(_acyclic())
def test_sure_at_the_end_is_what_is_sure_to_run_or_on_every_way_to_an_end(graph):
    ids, edges, joins, ends = graph
    start_steps = {id for id in ids if all(target != id for _, target, _ in edges)}
    expected = _sure(ids, edges, joins) | {
        step for step in ids if all(_on_every_way(edges, start_steps, step, end) for end in ends)
    }

    certainty = Certainty(ids, edges, joins, ends)

    assert {step for step in ids if certainty.at_end(step)} == expected


def _analysed(steps, transitions):
    """Seconds that the analysis of a layered graph takes."""
    ids = [f"s{n}" for n in range(steps)]
    targets = [min(n % steps + 1 + n // steps, steps - 1) for n in range(transitions)]
    edges = [(ids[n % steps], ids[target]) for n, target in enumerate(targets) if n % steps < target]
    begun = time.perf_counter()
    order = topological_order(ids, edges)
    certainty = Certainty(order, [(a, b, True) for a, b in edges], dict.fromkeys(ids, "all"), ids[-1:])
    assert len(order) == steps
    assert certainty.before(ids[-1], ids[0])
    return time.perf_counter() - begun


def test_the_largest_graph_is_analysed_in_a_moment():
    assert _analysed(5_000, 20_000) < 2.0


@pytest.mark.parametrize("chords", [0, 15_000])
def test_a_cycle_through_the_largest_graph_is_found_in_a_moment(chords):
    ids = [f"s{n}" for n in range(5_000)]
    edges = [(ids[n], ids[(n + 1) % 5_000]) for n in range(5_000)]
    edges += [(ids[n % 4_000], ids[n % 4_000 + 2 + n // 4_000]) for n in range(chords)]
    begun = time.perf_counter()
    cycle = shortest_cycle(ids, edges)
    assert time.perf_counter() - begun < 5.0
    assert cycle[0] == cycle[-1]
    assert set(zip(cycle, cycle[1:], strict=False)) <= set(edges)
