"""The platform's namespaces from the host's side: starting PID 1 in them, finding it, ending it.

PID 1 holds a lock as long as it lives, so it is found by asking the kernel who holds that lock: there is no pid file to be stale.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubernaut.errors import DeadlineExceeded, PlatformFailed
from kubernaut_local import network
from kubernaut_local.commands import tail
from kubernaut_local.host import MOUNT_POINTS
from kubernaut_local.layout import Layout
from kubernaut_local.locks import holder, locked

_INIT = Path(__file__).parent / "inside" / "init.py"
_START_SECONDS = 20.0
_END_SECONDS = 20.0
_POLL_SECONDS = 0.02


def pid_one(layout: Layout) -> int | None:
    """Return the host's pid of the platform's PID 1, or none if the platform does not run."""
    return holder(layout.alive)


def plan(layout: Layout, busybox: Path) -> dict[str, Any]:
    """Return what PID 1 has to do before it becomes supervisord."""
    return {
        "alive": str(layout.alive),
        "hostname": layout.cgroup,
        "resolvConf": str(layout.etc / "resolv.conf"),
        "binds": [[str(layout.root / source), target] for target, source in MOUNT_POINTS.items()],
        "network": network.NAMESPACE,
        "busybox": str(busybox),
        "supervisord": [sys.executable, "-I", "-m", "supervisor.supervisord", "-n", "-c", str(layout.etc / "supervisord.conf")],
        # Nothing of the caller's environment, nor its umask: what is started must not depend on the shell that started it.
        "environment": {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"},
    }


def start(layout: Layout, what: Mapping[str, Any]) -> int:
    """Start PID 1 in new namespaces and return its pid, as soon as it lives.

    Raises:
        PlatformFailed: It ended at once; its log's end is in the details.
    """
    path = layout.etc / "init.json"
    path.write_text(json.dumps(what, indent=2), encoding="utf-8")
    # Whoever is started below keeps the writing end open, so the reading end reports when all of them are gone. So does the lock:
    # it is shared by inheritance, and `unshare` ends only when the kernel has ended everything inside.
    reading, writing = os.pipe()
    gone = os.open(_gone(layout), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(gone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with layout.log("init").open("wb") as log:
            # Of their own session, so no Ctrl-C reaches them, and nobody's children, so that no zombie is left to the caller.
            # The kernel kills PID 1, and so all that runs in its namespace, when the waiting `unshare` dies.
            subprocess.run(
                [
                    *(
                        "setsid",
                        "--fork",
                        "unshare",
                        "--mount",
                        "--pid",
                        "--fork",
                        "--kill-child=SIGKILL",
                        "--mount-proc",
                        "--ipc",
                        "--uts",
                    ),
                    *("--", sys.executable, "-I", str(_INIT), str(path)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                # `unshare` lives as long as the platform: a CI server that ends what bears its job's variables must not find them.
                env=what["environment"],
                umask=0o022,
                pass_fds=(writing, gone),
                check=True,
            )
        os.close(writing)
        writing = -1
        return _wait_for_start(layout, reading)
    finally:
        os.close(reading)
        os.close(gone)
        if writing >= 0:
            os.close(writing)


def _wait_for_start(layout: Layout, reading: int) -> int:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        pid = pid_one(layout)
        if pid is not None:
            return pid
        if select.select([reading], [], [], _POLL_SECONDS)[0]:
            raise PlatformFailed("The platform's namespaces could not be made.", details=tail(layout.log("init")))
    raise DeadlineExceeded(f"The platform's PID 1 did not start within {_START_SECONDS:.0f} s.", details=tail(layout.log("init")))


def settled(layout: Layout) -> int | None:
    """Return the host's pid of PID 1, or none, once that is certain.

    One that has just been killed frees its lock a moment before the rest has ended; one that has just been started, by an `up`
    that was stopped then, takes it a moment later.
    """
    deadline = time.monotonic() + _END_SECONDS
    while True:
        pid = pid_one(layout)
        if pid is not None or not _gone(layout).exists():
            return pid
        try:
            with locked(_gone(layout), timeout=0, waiting=lambda _pid: None):
                return None
        except DeadlineExceeded:
            if time.monotonic() > deadline:
                raise


def _gone(layout: Layout) -> Path:
    return layout.run / "gone"


def end(layout: Layout) -> bool:
    """Kill PID 1 and with it everything that runs inside; return whether there was one."""
    pid = settled(layout)
    if pid is None:
        return False
    parent = _parent(pid)
    try:
        handles = [os.pidfd_open(each) for each in (pid, parent) if each is not None]
    except ProcessLookupError:
        return True
    try:
        try:
            signal.pidfd_send_signal(handles[0], signal.SIGKILL)
        except ProcessLookupError:
            return True
        # A PID 1 ends only after the kernel has ended everything in its namespace; `unshare` ends after it.
        for handle in handles:
            if not select.select([handle], [], [], _END_SECONDS)[0]:
                raise DeadlineExceeded(f"The platform's processes did not end within {_END_SECONDS:.0f} s of SIGKILL.")
    finally:
        for handle in handles:
            os.close(handle)
    return True


def _parent(pid: int) -> int | None:
    """Return the pid of the `unshare` that waits for PID 1."""
    fields = _status(pid)
    parent = int(fields.get("PPid", "0"))
    return parent if parent and _status(parent).get("Name") == "unshare" else None


def host_pids(one: int) -> dict[int, int]:
    """Return the host's pid of each process inside, by the pid it has there."""
    try:
        namespace = Path(f"/proc/{one}/ns/pid").readlink()
    except (FileNotFoundError, PermissionError):
        return {}
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "ns" / "pid").readlink() != namespace:
                continue
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        numbers = _status(int(folder.name)).get("NSpid", "").split()
        if numbers:
            found[int(numbers[-1])] = int(folder.name)
    return found


def _status(pid: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
