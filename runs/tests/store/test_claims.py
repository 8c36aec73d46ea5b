"""Who owns a run: claims, leases, renewals and releases, one caller or many at once (I-13, F-28)."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from runs.machine.stimuli import Cancel
from runs.models import WorkflowRun
from runs.store import Lease
from runs.store.interface import LEASE
from runs.tests.reactor.fixtures import committed
from runs.tests.store.conftest import fast_store
from runs.tests.store.worlds import World, owner_id

__all__ = ["committed"]
pytestmark = pytest.mark.django_db
X = {"x": 1}


def row(id):
    return WorkflowRun.objects.get(id=id)


def move(id, seconds):
    WorkflowRun.objects.filter(id=id).update(wake_at=datetime.now(UTC) + timedelta(seconds=seconds))


def test_a_new_run_is_due_and_a_claim_takes_it(world):
    id = world.start(input=X)

    claimed = world.store.claim(owner_id(0), 10)

    assert claimed == [id]
    assert (row(id).lease_owner, row(id).revision) == (owner_id(0), 2)
    assert abs(row(id).wake_at - world.store.now() - LEASE) < timedelta(seconds=5)


def test_a_run_that_somebody_owns_is_left_until_its_lease_is_over(world):
    id = world.start(input=X)
    world.store.claim(owner_id(0), 10)

    during = world.store.claim(owner_id(1), 10)
    move(id, -1)
    afterwards = world.store.claim(owner_id(1), 10)

    assert (during, afterwards) == ([], [id])
    assert row(id).lease_owner == owner_id(1)


def test_an_owner_does_not_claim_its_own_runs(world):
    id = world.start(input=X)
    world.store.claim(owner_id(0), 10)
    move(id, -1)

    assert world.store.claim(owner_id(0), 10) == []


def test_no_more_is_claimed_than_there_is_room_for_and_the_oldest_first(world):
    ids = [world.start(input=X) for _ in range(4)]
    for n, id in enumerate(ids):
        move(id, -10 + n)

    assert set(world.store.claim(owner_id(0), 2)) == set(ids[:2])
    assert set(world.store.claim(owner_id(0), 10)) == set(ids[2:])


def test_what_is_not_due_or_has_ended_is_not_claimed(world):
    later, ended = world.start(input=X), world.start(input=X)
    move(later, 60)
    world.tell(ended, Cancel())

    assert world.store.claim(owner_id(0), 10) == []
    assert row(ended).wake_at is None


def test_a_renewal_prolongs_what_is_ours_and_tells_its_revisions(world):
    mine, others = world.start(input=X), world.start(input=X)
    world.store.claim(owner_id(0), 1)
    world.store.claim(owner_id(1), 1)
    owned = {id: row(id).lease_owner for id in (mine, others)}
    mine = next(id for id, owner in owned.items() if owner == owner_id(0))
    move(mine, 1)

    revisions = world.store.renew(owner_id(0))

    assert revisions == {mine: 2}
    assert row(mine).wake_at > world.store.now() + LEASE / 2
    assert row(mine).revision == 2


def test_a_commands_write_wakes_a_run_that_nobody_owns(world):
    id = world.start(input=X)
    move(id, 3600)

    world.tell(id, lease=Lease.WAKE)

    assert row(id).wake_at <= world.store.now()


def test_a_commands_write_leaves_the_lease_of_an_owner_alone(world):
    id = world.start(input=X)
    world.store.claim(owner_id(0), 1)
    before = row(id)

    world.tell(id, lease=Lease.WAKE)

    assert (row(id).lease_owner, row(id).wake_at) == (before.lease_owner, before.wake_at)


@pytest.mark.parametrize("wake_at", [None, datetime(2030, 1, 1, tzinfo=UTC)])
def test_a_release_lets_go_until_its_time(world, wake_at):
    id = world.start(input=X)
    world.store.claim(owner_id(0), 1)

    world.tell(id, lease=Lease.RELEASE, wake_at=wake_at)

    assert (row(id).lease_owner, row(id).wake_at) == (None, wake_at)


def test_a_release_on_an_older_revision_keeps_the_lease(world):
    id = world.start(input=X)
    world.store.claim(owner_id(0), 1)
    world.look(id)
    world.run_ready(id)

    won = world.tell(id, lease=Lease.RELEASE, stale=True)

    assert (won, row(id).lease_owner) == (False, owner_id(0))


def test_the_next_wake_is_the_earliest(world):
    before = world.store.next_wake()
    ids = [world.start(input=X), world.start(input=X)]
    move(ids[0], 100)
    move(ids[1], 50)

    assert before is None
    assert world.store.next_wake() == row(ids[1]).wake_at


# At once


def at_once(n, work):
    """`work(k)` in n threads that begin together; what each returned."""
    barrier, said = threading.Barrier(n), {}

    def begin(k):
        try:
            barrier.wait(10)
            said[k] = work(k)
        finally:
            connection.close()

    threads = [threading.Thread(target=begin, args=(k,)) for k in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(said) == n
    return said


def test_of_many_that_claim_at_once_exactly_one_has_each_run(committed, world):
    ids = {world.start(n % 4) for n in range(40)}

    claimed = at_once(6, lambda k: [id for _ in range(4) for id in world.store.claim(owner_id(k), 5)])

    won = [id for found in claimed.values() for id in found]
    assert len(won) == len(set(won))
    assert set(won) <= ids
    assert {row(id).lease_owner for id in won} <= {owner_id(k) for k in range(6)}
    for k, found in claimed.items():
        assert {row(id).lease_owner for id in found} <= {owner_id(k)}


def test_of_many_that_write_at_once_exactly_one_wins(committed, world):
    for _ in range(10):
        id = world.start(input=X)
        write = world.write(id, Cancel("corr", "why", "someone"))

        won = at_once(4, lambda k, write=write: world.store.persist([write]))

        assert sorted(map(len, won.values())) == [0, 0, 0, 1]
        assert row(id).seq == write.decision.run.seq


def test_batches_that_share_runs_in_another_order_do_not_deadlock(committed, versions):
    world = World(fast_store(), versions)
    ids = [world.start(input=X) for _ in range(12)]
    writes = [world.write(id, Cancel()) for id in ids]

    won = at_once(4, lambda k: world.store.persist(writes if k % 2 else writes[::-1]))

    assert sorted(id for found in won.values() for id in found) == sorted(ids)


def test_of_many_starts_with_one_key_one_wins(committed, versions):
    store = fast_store()
    for n in range(5):
        worlds = [World(store, versions) for _ in range(4)]
        writes = []
        for k, world in enumerate(worlds):
            world.made = 100 * n + k
            writes.append(world.new(key=f"key {n}"))

        won = at_once(4, lambda k, writes=writes: persisted(store, writes[k]))

        assert sorted(map(len, won.values())) == [0, 0, 0, 1]


def persisted(store, write):
    with transaction.atomic():
        return store.persist([write])
