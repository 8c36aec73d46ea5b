"""Writers of one SQLite file are served in the order in which they came, and no error keeps the lock."""

import contextlib
import signal
import sqlite3
import threading
import time

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction

from staterail.core.sqlite.base import DatabaseWrapper, write_lock
from staterail.core.sqlite.fair_lock import FairLock

NOT_STUCK = 10.0


def until(holds):
    deadline = time.monotonic() + NOT_STUCK
    while not holds():
        assert time.monotonic() < deadline, "stuck"
        time.sleep(0.001)


def queue_up(lock: FairLock, n: int, served: list[int]) -> list[threading.Thread]:
    """`n` threads that wait for the lock, in this order."""
    threads = []
    for k in range(n):

        def work(k=k):
            with lock:
                served.append(k)

        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()
        until(lambda k=k: len(lock._waiters) == k + 1)
    return threads


def is_free(lock: FairLock) -> bool:
    got = []

    def try_it():
        with lock:
            got.append(True)

    thread = threading.Thread(target=try_it, daemon=True)
    thread.start()
    thread.join(1)
    return bool(got)


def test_waiters_are_served_in_the_order_in_which_they_came():
    lock, served = FairLock(), []
    lock.acquire()
    threads = queue_up(lock, 20, served)

    lock.release()
    for thread in threads:
        thread.join(NOT_STUCK)

    assert served == list(range(20))


def test_who_comes_back_at_once_waits_behind_those_who_waited():
    lock, served = FairLock(), []
    lock.acquire()
    threads = queue_up(lock, 3, served)

    lock.release()
    lock.acquire()
    served.append("again")
    lock.release()
    for thread in threads:
        thread.join(NOT_STUCK)

    assert served == [0, 1, 2, "again"]


def test_one_holds_it_at_a_time():
    lock, inside, most = FairLock(), [], []

    def work():
        for _ in range(200):
            with lock:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(NOT_STUCK)

    assert set(most) == {1}
    assert len(most) == 1600


class Interrupted(Exception):
    pass


@pytest.fixture
def interrupted():
    """Have SIGUSR1 raise in the main thread; gives what sends it once a condition holds."""

    def interrupt(*_):
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)

    def once(holds):
        def send():
            until(holds)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

        threading.Thread(target=send, daemon=True).start()

    yield once
    signal.signal(signal.SIGUSR1, before)


def test_a_waiter_that_is_interrupted_leaves_the_queue(interrupted):
    lock, served = FairLock(), []
    lock.acquire()
    interrupted(lambda: len(lock._waiters) == 1)
    with pytest.raises(Interrupted):
        lock.acquire()
    threads = queue_up(lock, 2, served)

    lock.release()
    for thread in threads:
        thread.join(NOT_STUCK)

    assert served == [0, 1]
    assert is_free(lock)


def test_a_waiter_to_whom_the_lock_was_handed_as_it_was_interrupted_hands_it_on():
    lock = FairLock()
    lock.acquire()
    gate = threading.Lock()
    lock._waiters.append(gate)
    gate.acquire()
    lock.release()

    lock._give_up(gate)

    assert is_free(lock)


def test_a_waiter_whose_patience_ends_leaves_the_queue():
    lock, served = FairLock(), []
    lock.acquire()

    came = lock.acquire(timeout=0.01)
    threads = queue_up(lock, 2, served)
    lock.release()
    for thread in threads:
        thread.join(NOT_STUCK)

    assert not came
    assert served == [0, 1]
    assert is_free(lock)


# In front of a database


class Refused(Exception):
    pass


@pytest.fixture
def lock(tmp_path, db):
    """The lock in front of a database of the test's own, whose connection is called `own`."""
    settings = {
        **connection.settings_dict, "ENGINE": "staterail.core.sqlite", "NAME": str(tmp_path / "db.sqlite3"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 0.05}, "TIME_ZONE": None,
    }  # fmt: skip
    connections["own"] = DatabaseWrapper(settings, "own")
    execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
    execute("CREATE TABLE b (a_id INTEGER REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED)")
    yield write_lock(settings["NAME"])
    connections["own"].close()
    del connections["own"]


def execute(statement: str) -> None:
    with connections["own"].cursor() as cursor:
        cursor.execute(statement)


def other_process(database: str) -> sqlite3.Connection:
    """Somebody who does not know our lock."""
    return sqlite3.connect(database, isolation_level=None)


def test_a_transaction_holds_the_lock_and_gives_it_back(lock):
    with transaction.atomic(using="own"):
        execute("INSERT INTO a VALUES (1)")
        with transaction.atomic(using="own"):
            execute("INSERT INTO a VALUES (2)")
        held = lock._held

    assert (held, lock._held) == (True, False)


def test_a_transaction_that_is_rolled_back_gives_it_back(lock):
    with contextlib.suppress(Refused), transaction.atomic(using="own"):
        execute("INSERT INTO a VALUES (1)")
        raise Refused

    assert not lock._held


def test_a_transaction_that_could_not_begin_gives_it_back(lock):
    other = other_process(connections["own"].settings_dict["NAME"])
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(OperationalError, match="locked"), transaction.atomic(using="own"):
        raise AssertionError("it began")
    free = not lock._held
    other.execute("ROLLBACK")
    other.close()
    with transaction.atomic(using="own"):
        execute("INSERT INTO a VALUES (1)")

    assert free
    assert not lock._held


def test_a_transaction_that_could_not_commit_gives_it_back(lock):
    with pytest.raises(IntegrityError), transaction.atomic(using="own"):
        execute("INSERT INTO b VALUES (7)")

    assert not lock._held
    with transaction.atomic(using="own"):
        execute("INSERT INTO a VALUES (7)")


def test_a_connection_that_is_closed_within_a_transaction_gives_it_back(lock):
    with contextlib.suppress(Refused), transaction.atomic(using="own"):
        execute("INSERT INTO a VALUES (1)")
        connections["own"].close()
        raise Refused

    assert not lock._held


def test_reading_waits_for_no_writer(lock):
    lock.acquire()

    execute("SELECT count(*) FROM a")

    lock.release()


@pytest.mark.parametrize("statement", ["INSERT INTO a VALUES (1)", " update a SET id = 2", "DELETE FROM a"])
def test_a_write_without_a_transaction_waits_for_its_turn_too(lock, statement):
    connections["own"].settings_dict["OPTIONS"] = {"timeout": NOT_STUCK}
    lock.acquire()
    released = []

    def release_once_somebody_waits():
        until(lambda: lock._waiters)
        released.append(True)
        lock.release()

    threading.Thread(target=release_once_somebody_waits, daemon=True).start()
    execute(statement)

    assert released == [True]
    assert is_free(lock)


def test_a_write_without_a_transaction_that_fails_gives_the_lock_back(lock):
    execute("INSERT INTO a VALUES (1)")

    with pytest.raises(IntegrityError):
        execute("INSERT INTO a VALUES (1)")

    assert not lock._held


@pytest.mark.parametrize("begin", [lambda: transaction.atomic(using="own"), contextlib.nullcontext])
def test_who_waits_for_too_long_is_told_that_the_database_is_locked(lock, begin):
    lock.acquire()

    with pytest.raises(OperationalError, match="database is locked"), begin():
        execute("INSERT INTO a VALUES (1)")

    lock.release()
    execute("INSERT INTO a VALUES (1)")
    assert not lock._held
