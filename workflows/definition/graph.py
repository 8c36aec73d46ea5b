"""Facts about a graph of steps, each linear in steps and transitions (bit sets for the relations)."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

Edges = Sequence[tuple[str, str]]


def topological_order(ids: Sequence[str], edges: Edges) -> list[str]:
    """The ids with sources first, in document order where that is free. Misses what is in or behind a cycle."""
    incoming = dict.fromkeys(ids, 0)
    out: dict[str, list[str]] = {id: [] for id in ids}
    for source, target in edges:
        out[source].append(target)
        incoming[target] += 1
    ready = deque(id for id in ids if incoming[id] == 0)
    order = []
    while ready:
        id = ready.popleft()
        order.append(id)
        for target in out[id]:
            incoming[target] -= 1
            if incoming[target] == 0:
                ready.append(target)
    return order


def shortest_cycle(ids: Sequence[str], edges: Edges) -> list[str] | None:
    """A shortest cycle as a list of ids that begins and ends with the same one, or None.

    Searched from at most 200 steps of the part that has cycles, so that a huge knot stays quick:
    past that it is a short one, found where the search began.
    """
    placed = set(topological_order(ids, edges))
    knot = [id for id in ids if id not in placed]
    if not knot:
        return None
    inside = set(knot)
    out: dict[str, list[str]] = {id: [] for id in knot}
    for source, target in edges:
        if source in inside and target in inside:
            out[source].append(target)
    best: list[str] | None = None
    for start in knot[:200] if len(knot) > 2000 else knot:
        found = _cycle_through(start, out, len(best) - 1 if best else len(knot) + 1)
        if found is not None and (best is None or len(found) < len(best)):
            best = found
            if len(best) <= 2:
                break
        if best is not None and len(knot) * len(best) > 2_000_000:
            break
    return best or _walk_into_cycle(knot, out)


def _cycle_through(start: str, out: dict[str, list[str]], shorter_than: int) -> list[str] | None:
    came: dict[str, str] = {}
    waiting = deque([(start, 0)])
    while waiting:
        id, length = waiting.popleft()
        if length + 1 >= shorter_than + 1:
            return None
        for target in out[id]:
            if target == start:
                path = [id]
                while path[-1] != start:
                    path.append(came[path[-1]])
                return [*reversed(path), start]
            if target not in came:
                came[target] = id
                waiting.append((target, length + 1))
    return None


def _walk_into_cycle(knot: Sequence[str], out: dict[str, list[str]]) -> list[str]:
    """Follow transitions until a step comes again: a cycle, if not the shortest."""
    back: dict[str, list[str]] = {id: [] for id in knot}
    for id in knot:
        for target in out[id]:
            back[target].append(id)
    path, seen = [knot[0]], {knot[0]: 0}  # every step of the knot has a source within it
    while True:
        source = back[path[-1]][0]
        if source in seen:
            return [source, *reversed(path[seen[source] :])]
        seen[source] = len(path)
        path.append(source)


class Certainty:
    """Which steps are sure to have run, and ended, by the time that a reader reads them.

    Sure is a step on every way to the reader (a dominator), or, with no `any` join between, a start
    step or one that an unconditional success transition reaches from a sure step. Sets are bit
    masks by position: the relations of 5,000 steps and 20,000 transitions take some milliseconds.
    """

    def __init__(
        self,
        order: Sequence[str],
        edges: Iterable[tuple[str, str, bool]],
        joins: Mapping[str, str],
        ends: Iterable[str],
    ) -> None:
        """`order` is topological; an edge is (source, target, whether it is an unconditional success); `ends` are
        the steps at which a way may end: no transition is sure to lead on from there."""
        self._bit = {id: 1 << n for n, id in enumerate(order)}
        incoming: dict[str, list[tuple[str, bool]]] = {id: [] for id in order}
        for source, target, plain in edges:
            incoming[target].append((source, plain))
        self._dominators: dict[str, int] = {}
        self._awaited: dict[str, int] = {}  # what has ended whenever the step starts, for its joins waited for it
        self._runs = 0  # steps that run in every run
        for id in order:
            into = incoming[id]
            through, awaited = -1, 0
            for source, _ in into:
                through &= self._dominators[source]
                awaited |= self._awaited[source] | self._bit[source]
            self._dominators[id] = (through if into else 0) | self._bit[id]
            self._awaited[id] = 0 if joins[id] == "any" else awaited
            reached = [plain and bool(self._runs & self._bit[source]) for source, plain in into]
            if not into or (all(reached) if joins[id] == "strict_all" else any(reached)):
                self._runs |= self._bit[id]
        ways = -1
        for id in ends:
            ways &= self._dominators[id]
        self._end = self._runs | (ways if ways != -1 else 0)

    def before(self, reader: str, step: str) -> bool:
        """Whether `step` has run when `reader` starts."""
        bit = self._bit[step]
        if step == reader:
            return False
        return bool(bit & (self._dominators[reader] | (self._awaited[reader] & self._runs)))

    def after(self, reader: str, step: str) -> bool:
        """Whether `step` has run when `reader` has just ended."""
        return step == reader or self.before(reader, step)

    def at_end(self, step: str) -> bool:
        """Whether `step` has run when the run ends."""
        return bool(self._bit[step] & self._end)
