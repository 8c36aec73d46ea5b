import re
import signal
import socket
import sys

import httpx
import pytest

from staterail.management.commands.up import can_show_pages
from staterail.testing.server import ROOT, until

STATUSES = {"database": "ok", "broker": "ok", "channel_layer": "ok", "workers": "ok"}


def _login_link(log):
    return re.search(r"http://localhost:\d+/login/once/\S+", log).group()


def _client():
    return httpx.Client(trust_env=False, timeout=10)


def test_the_first_start_is_ready_tells_where_to_go_and_warns_of_nothing(shared):
    told = until(lambda: "Stop " in shared.log and shared.log.partition("Ctrl-C")[0])

    assert shared.readiness() == STATUSES
    for line in (f"http://localhost:{shared.port}", "/api/v1/docs", "token --name me", "run hello-staterail --follow"):
        assert line in told
    hint = rf"STATERAIL_DATA={shared.data} STATERAIL_PORT={shared.port} (\S+) manage.py token"
    assert (ROOT / re.search(hint, told).group(1)).samefile(sys.executable)  # it runs as it is printed
    assert "WARNING" not in told


def test_a_page_and_what_it_loads_are_served_without_a_warning(shared):
    with _client() as person:
        page = person.get(f"{shared.url}/login/")
        loaded = [person.get(shared.url + path) for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)]
    assert {answer.status_code for answer in (page, *loaded)} == {200}
    assert len(loaded) == 3
    assert "Warning" not in shared.log


@pytest.mark.parametrize(
    ("on_terminal", "environment", "platform", "opens"),
    [
        (True, {"DISPLAY": ":0"}, "linux", True),
        (True, {"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        (True, {}, "darwin", True),
        (True, {"DISPLAY": ""}, "linux", False),
        (False, {"DISPLAY": ":0"}, "linux", False),
        (False, {}, "darwin", False),
    ],
)
def test_a_browser_is_opened_only_where_somebody_sees_its_window(on_terminal, environment, platform, opens):
    assert can_show_pages(on_terminal, environment, platform) == opens


def test_the_first_login_link_shows_a_page_as_often_as_one_looks_and_lets_in_once(shared):
    link = until(lambda: "/login/once/" in shared.log and _login_link(shared.log))
    with _client() as scanner, _client() as person, _client() as thief:
        looks = [scanner.get(link).status_code for _ in range(3)]
        assert (looks, scanner.get(shared.url).status_code) == ([200, 200, 200], 302)

        person.get(link)
        fields = {"csrfmiddlewaretoken": person.cookies["csrftoken"], "new_password1": "", "new_password2": ""}
        answer = person.post(link, data=fields)

        assert (answer.status_code, answer.headers["location"]) == (302, "/")
        page = person.get(link.partition("/login")[0])
        assert page.status_code == 200
        assert "Hello, StateRail" in page.text
        assert (thief.get(link).status_code, scanner.get(link).status_code) == (404, 404)


def test_an_idle_server_stops_in_good_order_and_greets_without_a_link_once_somebody_has_logged_in(own):
    instance = own().start()
    link = until(lambda: "/login/once/" in instance.log and _login_link(instance.log))
    with _client() as person:
        person.get(link)
        person.post(link, data={"csrfmiddlewaretoken": person.cookies["csrftoken"]})

    status, seconds = instance.stop(signal.SIGINT)
    assert (status, seconds < 10, instance.readiness()) == (0, True, None)
    assert instance.log.rstrip().endswith("Stopped.")

    first = instance.log
    instance.start()
    told = until(lambda: "login_link" in instance.log[len(first) :] and instance.log[len(first) :])
    assert "/login/once/" not in told
    new = instance.command("login_link").stdout.strip()
    with _client() as person:
        assert person.get(new).status_code == 200
    assert instance.stop(signal.SIGHUP)[0] == 0


def test_a_second_server_on_the_same_data_is_refused_and_the_first_goes_on(shared):
    second = shared.command("up", "--no-browser", "--port", "1", "--data", str(shared.data), status=None)

    assert second.returncode == 1
    message = f"StateRail is running on {shared.data} already (process {shared.process.pid})"
    assert message in second.stderr
    assert "Traceback" not in second.stderr
    assert shared.readiness() == STATUSES


def test_a_port_that_is_taken_is_refused_and_the_data_is_free_for_another_try(own):
    instance = own()
    with socket.socket() as other:
        other.bind(("127.0.0.1", instance.port))
        other.listen()
        refused = instance.command("up", "--no-browser", status=None)

    assert refused.returncode == 1
    assert f"Port {instance.port} cannot be used (Address already in use)" in refused.stderr
    assert f'make up ARGS="--port {instance.port + 10} --data {instance.data}"' in refused.stderr
    assert "Traceback" not in refused.stderr
    assert instance.start().readiness() == STATUSES


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "eighty"], "argument --port: invalid int value: 'eighty'"),
        (["--port", "70000"], "--port is between 1 and 65535"),
    ],
)
def test_a_port_that_is_none_is_refused_in_one_line(own, arguments, said):
    refused = own().command("up", "--no-browser", *arguments, status=None)
    assert refused.returncode in (1, 2)
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_help_says_what_up_does(shared):
    told = shared.command("up", "--help").stdout
    for word in ("one-time", "--port", "--data", "--no-browser", "Ctrl-C"):
        assert word in told
