"""PID 1 of the platform's namespaces: makes the mounts and the network namespace, then becomes supervisord.

Run as `unshare --mount --pid … python init.py PLAN.json`; the plan is written by :mod:`kubernaut_local.namespace`. Whatever is
mounted here is seen by the platform only, and goes with it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Prepare the namespaces as the plan says and become supervisord."""
    plan: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    hold(Path(plan["alive"]))
    socket.sethostname(plan["hostname"])
    mount("--make-rprivate", "/")
    private_run(Path(plan["resolvConf"]))
    for source, target in plan["binds"]:
        mount("--bind", source, target)
    network(plan["network"], plan["busybox"])
    # Volumes that are mounted later must be seen by the containers that asked for it (mountPropagation).
    mount("--make-rshared", "/")
    supervisord: list[str] = plan["supervisord"]
    os.execve(supervisord[0], supervisord, plan["environment"])  # noqa: S606 - an argument list, and no shell is wanted


def hold(alive: Path) -> None:
    """Lock the file by which the host knows PID 1; the lock lives exactly as long as this process."""
    handle = os.open(alive, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("another PID 1 of this platform is alive")
    os.set_inheritable(handle, True)


def private_run(resolv_conf: Path) -> None:
    """Give the platform a /run of its own: container sockets, network namespaces and xtables.lock live there."""
    link = Path(os.path.realpath("/etc/resolv.conf"))
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for folder in ("/run/netns", "/run/lock"):
        Path(folder).mkdir()
    if link.is_relative_to("/run"):
        # systemd-resolved and friends: /etc/resolv.conf points into the /run that has just been covered.
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(resolv_conf, link)
    elif link.exists():
        mount("--bind", str(resolv_conf), str(link))


def network(namespace: str, busybox: str) -> None:
    """Make the network namespace, with its own /sys and the host's cgroup mounts back in their place."""
    Path(namespace).touch()
    run("unshare", f"--net={namespace}", "true")
    inside = ("nsenter", f"--net={namespace}", "--")
    run(*inside, busybox, "ip", "link", "set", "lo", "up")
    # Docker sets the policy of FORWARD to DROP when it is the one that turns forwarding on, and pods would not reach each other.
    run(*inside, busybox, "sysctl", "-w", "net.ipv4.ip_forward=1")
    # A sysfs shows the network namespace it was mounted in; a new one hides the cgroup mounts that stand inside the old one.
    Path("/run/cgroup").mkdir()
    mount("--rbind", "/sys/fs/cgroup", "/run/cgroup")
    run(*inside, "mount", "-t", "sysfs", "sysfs", "/sys")
    mount("--rbind", "/run/cgroup", "/sys/fs/cgroup")
    run("umount", "--lazy", "/run/cgroup")


def mount(*arguments: str) -> None:
    """Mount something."""
    run("mount", *arguments)


def run(*argv: str) -> None:
    """Run a program that must succeed; what it says goes to this process's log."""
    subprocess.run(argv, check=True)


if __name__ == "__main__":
    main()
