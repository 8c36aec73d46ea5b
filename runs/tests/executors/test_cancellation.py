import threading

from runs.executors.cancellation import Cancellation


def test_who_asks_before_and_after_is_told() -> None:
    cancelled = Cancellation()

    before = cancelled.is_set()
    cancelled.set()

    assert (before, cancelled.is_set(), cancelled.wait(0)) == (False, True, True)


def test_a_wait_ends_at_its_time() -> None:
    assert Cancellation().wait(0.001) is False


def test_all_who_wait_are_woken() -> None:
    cancelled, woken = Cancellation(), threading.Semaphore(0)

    def wait() -> None:
        if cancelled.wait(60):
            woken.release()

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    cancelled.set()

    assert all(woken.acquire(timeout=30) for _ in threads)
