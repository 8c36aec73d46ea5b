import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios

import pytest

from staterail.testing.definitions import edge, task, workflow
from staterail.testing.server import ROOT, until

SLOW = workflow([task("nap", "core.sleep", seconds=1.5), task("end", "core.noop")], [edge("nap", "end")])
BROKEN = workflow([task("ok", "core.noop"), task("bad", "core.fail", code="no_stock", message="none left\x1b[2J")])

PAINT = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COMMAND = re.compile(r"waits for a person: *\n((?:.*\\ *\n)*.* approve \S{36} approve)")


@contextlib.contextmanager
def _followed(instance, slug, *arguments, **options):
    """`run --follow` under way; where the test fails it ends at once, for its run may go on for long."""
    with instance.spawn("run", slug, "--follow", *arguments, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def _piped(instance, slug, *arguments):
    return _followed(instance, slug, *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _run_id(process):
    return process.stdout.readline().split()[1]


def test_the_sample_is_followed_to_its_approval_and_completes_once_the_printed_command_is_typed(shared, api):
    with _piped(shared, "hello-staterail") as followed:
        run_id = _run_id(followed)
        told = []
        while not told or "waits for a person" not in told[-1]:
            told.append(followed.stdout.readline())
        command = told[-1].partition("waits for a person: ")[2].strip()
        assert command.endswith(f"manage.py approve {run_id} approve")
        assert api.run(run_id)["state"] == "running"

        typed = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
        assert (typed.returncode, typed.stdout, typed.stderr) == (0, "approved\n", "")

        rest = followed.stdout.read()
        assert followed.wait(30) == 0
    text = "".join(told) + rest
    for line in (
        "✔ Read the order  succeeded",
        "Reserve stock (fails once, then works)  attempt 1 failed: flaky",
        "✔ Approve a large order  succeeded",
        "✔ Hello, StateRail  completed",
    ):
        assert line in text
    output = json.loads(rest[rest.index("\n{") :])
    assert output == {"shipped": {"sku": "cheese", "qty": 12, "approved_by": "command line"}}
    assert api.run(run_id)["output"] == output


def test_on_a_terminal_the_picture_is_drawn_anew_with_a_bar_until_the_end(shared, api):
    api.publish(SLOW, "drawn")
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    with _followed(shared, "drawn", stdout=its, stderr=its) as followed:
        os.close(its)
        text = ""
        while piece := _read(ours):
            text += piece
        assert followed.wait(30) == 0
    os.close(ours)
    assert text.count("/2 steps") > 5
    for part in ("0/2 steps", "● ", "running", "━━━", "2/2 steps", "completed"):
        assert part in text.replace("\x1b[1;34m", "").replace("\x1b[0m", "")


def test_on_a_narrow_terminal_the_command_that_approves_is_still_one_for_a_shell(shared, api):
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    with _followed(shared, "hello-staterail", stdout=its, stderr=its) as followed:
        os.close(its)
        text = ""
        while not (found := COMMAND.search(PAINT.sub("", text).replace("\r", ""))) and (piece := _read(ours)):
            text += piece
        typed = subprocess.run(found[1], shell=True, cwd=ROOT, capture_output=True, text=True)
        while _read(ours):
            pass
        assert (followed.wait(30), typed.stdout) == (0, "approved\n")
    os.close(ours)
    assert max(map(len, found[1].splitlines())) <= 100


def _read(terminal):
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:  # the other end was closed
        return ""


def test_a_run_that_fails_exits_with_1_and_says_why_without_steering_the_terminal(shared, api):
    api.publish(BROKEN, "broken")
    done = shared.command("run", "broken", "--follow", status=1)
    assert "✘ bad  failed: no_stock: none left\\x1b[2J" in done.stdout
    assert done.stderr.strip() == "bad: no_stock: none left\\x1b[2J"
    assert "\x1b" not in done.stdout


def test_a_run_that_is_cancelled_exits_with_3(shared, api):
    api.publish(workflow([task("long", "core.sleep", seconds=60)]), "endless")
    with _piped(shared, "endless") as followed:
        run_id = _run_id(followed)
        api.step_in(run_id, "long", "running")
        api.must("POST", f"/api/v1/runs/{run_id}/cancel", {})
        followed.stdout.read()
        assert followed.wait(30) == 3


def test_ctrl_c_ends_the_following_and_the_run_goes_on(shared, api):
    api.publish(workflow([task("nap", "core.sleep", seconds=600)]), "slow")
    with _piped(shared, "slow") as followed:
        run_id = _run_id(followed)
        api.step_in(run_id, "nap", "running")
        followed.send_signal(signal.SIGINT)
        said = followed.stdout.read()
        assert followed.wait(30) == 130
    assert f"the run goes on: {run_id}" in said
    assert "Traceback" not in said
    assert api.run(run_id)["state"] == "running"
    api.must("POST", f"/api/v1/runs/{run_id}/cancel", {})


def test_a_test_that_fails_does_not_wait_for_the_command(shared, api):
    api.publish(workflow([task("nap", "core.sleep", seconds=600)]), "abandoned")
    with contextlib.suppress(ZeroDivisionError), _piped(shared, "abandoned") as followed:
        run_id = _run_id(followed)
        raise ZeroDivisionError
    assert followed.returncode == -signal.SIGKILL
    api.must("POST", f"/api/v1/runs/{run_id}/cancel", {})


def test_a_reader_that_goes_away_leaves_no_traceback_and_the_run_goes_on(shared, api):
    api.publish(SLOW, "unread")
    with _followed(shared, "unread", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as followed:
        run_id = _run_id(followed)
        followed.stdout.close()
        assert followed.wait(30) == 130
        assert followed.stderr.read() == ""
    assert api.ended(run_id)["state"] == "completed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-flow"], "There is no workflow 'no-such-flow'."),
        (["hello-state-rail"], "There is no workflow 'hello-state-rail'. Did you mean 'hello-staterail'?"),
        (["hello-staterail", "--tenant", "defualt"], "There is no tenant 'defualt'. Did you mean 'default'?"),
        (["hello-staterail", "--input", "{"], "--input: This is no JSON"),
        (["hello-staterail", "--input", ""], "--input: There is nothing in it"),
        (["hello-staterail", "--input", "@no.json"], "CommandError: --input: no.json: No such file or directory."),
        (["hello-staterail", "--input", "@/dev/null"], "--input: /dev/null: There is nothing in it"),
        (["hello-staterail", "--input", '{"qty": 0}'], "/input/qty: "),
    ],
)
def test_a_run_that_cannot_be_started_is_refused_and_nothing_is_stored(shared, api, arguments, said):
    before = api.runs()
    refused = shared.command("run", *arguments, status=1)
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert [run["id"] for run in api.runs()] == [run["id"] for run in before]


def test_without_a_server_the_run_is_kept_the_command_says_so_and_the_next_start_does_it(own):
    instance = own().start()
    instance.stop()
    started = instance.command("run", "hello-staterail", "--input", '{"sku": "apple", "qty": 1}')
    assert "No server is up on this data" in started.stderr

    instance.start()

    assert instance.api().ended(started.stdout.split()[1])["state"] == "completed"


def test_short_commands_work_beside_a_busy_server(shared, api, tmp_path):
    busy = api.publish(workflow([task(f"s{n}", "core.noop") for n in range(15)]), "busy")
    started = [id for _ in range(2) for id in api.start_many(busy, 300)]
    flow = tmp_path / "beside.yaml"
    flow.write_text("schema: staterail.workflow/v1\nsteps: [{id: a, kind: Task, config: {name: core.noop}}]\n")

    deployed = shared.command("deploy", str(flow))
    token = shared.command("token", "--name", "beside", "--role", "viewer")
    run = shared.command("run", "beside", "--follow")

    assert deployed.stdout.strip() == "beside: version 1 published"
    assert token.stdout.startswith("srt_")
    assert "completed" in run.stdout
    until(lambda: not api.runs(workflow_id=busy, state="running"), what="the busy runs end")
    assert {run["state"] for run in api.runs(workflow_id=busy)} == {"completed"}
    assert len(started) == len(api.runs(workflow_id=busy))
