"""Starting, finding and killing PID 1 of the platform's Linux namespaces.

PID 1 holds a lock while it lives, so it is found as the holder of that lock; a pid file could be stale.
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
from kubernaut_local.debian import Packages
from kubernaut_local.host import MOUNT_POINTS
from kubernaut_local.layout import Layout
from kubernaut_local.locks import holder, locked

_INIT_SCRIPT = Path(__file__).parent / "inside" / "init.py"
_START_SECONDS = 20.0
_END_SECONDS = 20.0
_POLL_SECONDS = 0.02


def find(layout: Layout) -> int | None:
    """Return the host's pid of the platform's PID 1, or None if the platform does not run."""
    return holder(layout.alive)


def init_config(layout: Layout, packages: Packages) -> dict[str, Any]:
    """Return the configuration of `inside/init.py`, which prepares the namespaces and then becomes supervisord."""
    return {
        "alive": str(layout.alive),
        "hostname": layout.cgroup,
        "resolvConf": str(layout.etc / "resolv.conf"),
        "binds": [[str(layout.root / source), target] for target, source in MOUNT_POINTS.items()],
        "network": network.NAMESPACE,
        "busybox": str(packages.busybox),
        "iptables": {"services": network.SERVICE_CIDR, "environment": packages.environment()},
        "supervisord": [sys.executable, "-I", "-m", "supervisor.supervisord", "-n", "-c", str(layout.etc / "supervisord.conf")],
        # The processes must not depend on the caller's environment.
        "environment": {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"},
    }


def start(layout: Layout, config: Mapping[str, Any]) -> int:
    """Start PID 1 in new namespaces and wait until it holds its lock.

    Args:
        layout: The state folder.
        config: See :func:`init_config`.

    Returns:
        The host's pid of PID 1.

    Raises:
        PlatformFailed: PID 1 ended at once; the end of its log is in the details.
        DeadlineExceeded: PID 1 did not start in time.
    """
    path = layout.etc / "init.json"
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")
    # The started processes inherit the pipe's writing end and the lock on the file `gone`. Both are closed only when all of them
    # have ended, since `unshare` ends after every process of its namespace.
    reading, writing = os.pipe()
    gone = os.open(_gone_file(layout), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(gone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with layout.log("init").open("wb") as log:
            # A new session is not reached by Ctrl-C, and `--fork` leaves no zombie to the caller. When `unshare` dies, the kernel
            # kills PID 1 and so every process of its namespace.
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
                    *("--", sys.executable, "-I", str(_INIT_SCRIPT), str(path)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                # CI servers kill processes that have their job's variables, and `unshare` lives as long as the platform.
                env=config["environment"],
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
        pid = find(layout)
        if pid is not None:
            return pid
        if select.select([reading], [], [], _POLL_SECONDS)[0]:
            raise PlatformFailed("The platform's namespaces could not be created.", details=tail(layout.log("init")))
    raise DeadlineExceeded(f"The platform's PID 1 did not start within {_START_SECONDS:.0f} s.", details=tail(layout.log("init")))


def find_settled(layout: Layout) -> int | None:
    """Return the host's pid of PID 1 or None, after waiting for a start or an end that is in progress.

    A killed PID 1 releases its lock before the other processes have ended, and a starting one acquires it after they have begun.

    Raises:
        DeadlineExceeded: The start or end is still in progress after 20 s.
    """
    deadline = time.monotonic() + _END_SECONDS
    while True:
        pid = find(layout)
        if pid is not None or not _gone_file(layout).exists():
            return pid
        try:
            with locked(_gone_file(layout), timeout=0):
                return None
        except DeadlineExceeded:
            if time.monotonic() > deadline:
                raise


def _gone_file(layout: Layout) -> Path:
    """Return the file that is locked until every process of the platform has ended."""
    return layout.run / "gone"


def kill(layout: Layout) -> bool:
    """Kill PID 1 and so every process of its namespace; return whether it was running.

    Raises:
        DeadlineExceeded: The processes did not end in time.
    """
    pid = find_settled(layout)
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
        # PID 1 ends after every other process of its namespace, and `unshare` after PID 1.
        for handle in handles:
            if not select.select([handle], [], [], _END_SECONDS)[0]:
                raise DeadlineExceeded(f"The platform's processes did not end within {_END_SECONDS:.0f} s of SIGKILL.")
    finally:
        for handle in handles:
            os.close(handle)
    return True


def _parent(pid: int) -> int | None:
    """Return the pid of PID 1's parent if that is `unshare`."""
    fields = _status(pid)
    parent = int(fields.get("PPid", "0"))
    return parent if parent and _status(parent).get("Name") == "unshare" else None


def host_pids(pid: int) -> dict[int, int]:
    """Return the host's pid of each process in a process's pid namespace, by the pid that it has there."""
    try:
        namespace = Path(f"/proc/{pid}/ns/pid").readlink()
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
