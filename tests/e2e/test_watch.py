"""A deploy in one process is watched from another."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from support.checkout import PROGRAM, Checkout
from support.messages import facts
from support.server_process import serving

pytestmark = pytest.mark.platform

LISTEN = "server.listen("
SLOW = f"await new Promise((done) => setTimeout(done, 6000))\n{LISTEN}"
CRASHING = f"throw new Error('no database')\n{LISTEN}"


def change(checkout: Checkout, start: str) -> None:
    """Let the application start in another way."""
    source = checkout.app / "index.js"
    source.write_text(source.read_text().replace(LISTEN, start))
    checkout.commit()


@contextmanager
def shipping(checkout: Checkout, start: str) -> Iterator[subprocess.Popen[str]]:
    """Ship the application with another start in a process, once its deploy has begun."""
    change(checkout, start)
    command = [PROGRAM, "ship", str(checkout.app), "-n", checkout.namespace]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=checkout.tree, env=dict(checkout.environment), text=True, **streams) as ship:  # type: ignore[call-overload]
        try:
            until(lambda: "pending-upgrade" in checkout.helm("list", "-n", checkout.namespace), ship)
            yield ship
        finally:
            ship.kill()


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_deploy_in_another_process_is_watched(checkout: Checkout) -> None:
    where = ("hello-world", "-n", checkout.namespace)
    checkout.run("ship", str(checkout.app), "-n", checkout.namespace, "--create-namespace")
    before = checkout.helm("history", *where)
    assert "hello-world.v1" in checkout.run("watch", *where).stdout  # nothing runs: the release is ready
    assert checkout.helm("history", *where) == before

    with shipping(checkout, SLOW) as ship:
        watched = checkout.run("watch", *where)
        out, _ = ship.communicate(timeout=120)
    assert ship.returncode == 0
    assert watched.stdout == out
    lines = watched.stderr.splitlines()
    assert [line for line in lines if line.startswith("deploy     Deployment hello-world: ")], watched.stderr
    assert any(re.search(r"Deployment hello-world: .*hello-world-[0-9a-z]+-[0-9a-z]+ ", line) for line in lines), watched.stderr
    assert not any(one == following for one, following in pairwise(lines)), watched.stderr

    with shipping(checkout, CRASHING) as ship:
        watched = checkout.run("watch", *where, status=6)
        _, err = ship.communicate(timeout=120)
    assert ship.returncode == 6
    assert watched.stderr.partition("error: ")[2].partition("hint:")[0] == err.partition("error: ")[2].partition("hint:")[0]
    assert "no database" in watched.stderr
    assert re.search(r"^rollback +started", watched.stderr, re.MULTILINE), watched.stderr

    with shipping(checkout, SLOW) as ship:
        ship.send_signal(signal.SIGKILL)
        ship.wait()
        problem = checkout.json("watch", *where, status=130)
    assert re.search(facts("v5"), problem["detail"]), problem
    assert "kubernaut unlock hello-world -n" in problem["hint"]


def test_deploy_on_a_server_is_accepted_and_watched(checkout: Checkout, tmp_path: Path) -> None:
    where = ("hello-world", "-n", checkout.namespace)
    change(checkout, SLOW)
    with serving({**checkout.environment, "XDG_STATE_HOME": str(tmp_path / "state")}, checkout.tree, tmp_path) as server:
        remote = replace(checkout, environment={**checkout.environment, "KUBERNAUT_TOKEN_FILE": str(server.header_file)})
        at_server = ("--server", server.url)
        accepted = remote.run("ship", str(checkout.app), "-n", checkout.namespace, "--create-namespace", "--no-wait", *at_server)
        command = re.search(r"next: kubernaut (watch [0-9a-z]{26} --server \S+)", accepted.stderr)
        assert command, accepted.stderr
        live = remote.run("watch", *where, *at_server)  # the server watches the operation that it runs
        by_id = remote.run(*command[1].split())
        ready = remote.run("watch", *where, *at_server)  # nothing runs any more
    assert by_id.stdout == live.stdout
    assert all("hello-world.v1" in one.stdout for one in (live, by_id, ready))
    for one in (live, by_id):
        assert re.search(r"^deploy +started +hello-world 1\.0\.", one.stderr, re.MULTILINE), one.stderr
        assert re.search(r"^deploy +Deployment hello-world: ", one.stderr, re.MULTILINE), one.stderr
    assert re.search(r"^watch +done", ready.stderr, re.MULTILINE), ready.stderr
