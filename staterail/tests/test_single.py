import fcntl
import os
import threading

import pytest

from staterail import single


def test_a_folder_has_one_holder_at_a_time_and_the_refusal_names_it(tmp_path):
    folder = tmp_path / "new"
    assert not single.is_held(folder)

    with single.hold(folder):
        assert single.is_held(folder)
        with pytest.raises(single.Taken, match=f"{folder} already \\(process {os.getpid()}\\)"):
            single.hold(folder)

    assert not single.is_held(folder)
    single.hold(folder).close()


def test_whoever_only_looks_whether_a_folder_is_held_keeps_nobody_from_holding_it(tmp_path):
    single.hold(tmp_path).close()
    with open(tmp_path / "staterail.lock") as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        gone = threading.Timer(0.1, fcntl.flock, (looker, fcntl.LOCK_UN))
        gone.start()
        single.hold(tmp_path).close()
        gone.join()
