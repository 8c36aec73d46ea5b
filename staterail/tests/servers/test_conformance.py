"""The same promises over a web process and two workers."""

import subprocess
import sys

import pytest

from staterail.testing.left_out import CONFORMANCE
from staterail.tests.journeys.test_scenarios import test_rule  # noqa: F401 - the same scenarios, on this cluster

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

if CONFORMANCE.is_file():  # else the terminal summary names what is left out

    def test_the_conformance_suite_passes(cluster, api):
        command = [sys.executable, str(CONFORMANCE), "--url", cluster.url, "--token", api.token]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
        failed = [line for line in done.stdout.splitlines() if not line.startswith("ok ")]
        assert (done.returncode, failed[:-1]) == (0, []), done.stdout[-3000:] + done.stderr[-2000:]
        assert failed[-1].endswith(" passed, 0 failed")
