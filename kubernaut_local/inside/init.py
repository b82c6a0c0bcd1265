"""PID 1 of the platform's namespaces: prepares the mounts and the network namespace, then becomes supervisord.

Run as `unshare --mount --pid … python init.py CONFIG.json`; :mod:`kubernaut_local.pid1` writes the configuration. Only the
platform sees the mounts, and they disappear with it.
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
    """Prepare the namespaces and become supervisord."""
    config: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    acquire_lock(Path(config["alive"]))
    socket.sethostname(config["hostname"])
    mount("--make-rprivate", "/")
    mount_run(Path(config["resolvConf"]))
    for source, target in config["binds"]:
        mount("--bind", source, target)
    create_network(config["network"], config["busybox"])
    reject_unknown_services(config["network"], **config["iptables"])
    # Containers with mountPropagation must see volumes that are mounted later.
    mount("--make-rshared", "/")
    supervisord: list[str] = config["supervisord"]
    os.execve(supervisord[0], supervisord, config["environment"])  # noqa: S606 - an argument list, without a shell


def acquire_lock(alive: Path) -> None:
    """Lock the file by which the host finds PID 1; the lock is held until this process ends."""
    handle = os.open(alive, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("another PID 1 of this platform is running")
    os.set_inheritable(handle, True)


def mount_run(resolv_conf: Path) -> None:
    """Mount a private /run, for container sockets, network namespaces and xtables.lock, and the platform's resolv.conf."""
    link = Path(os.path.realpath("/etc/resolv.conf"))
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for folder in ("/run/netns", "/run/lock"):
        Path(folder).mkdir()
    if link.is_relative_to("/run"):
        # As with systemd-resolved: /etc/resolv.conf links into the /run that is hidden now.
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(resolv_conf, link)
    elif link.exists():
        mount("--bind", str(resolv_conf), str(link))


def create_network(namespace: str, busybox: str) -> None:
    """Create the network namespace and mount its /sys, with the host's cgroup mounts."""
    Path(namespace).touch()
    run("unshare", f"--net={namespace}", "true")
    inside = ("nsenter", f"--net={namespace}", "--")
    run(*inside, busybox, "ip", "link", "set", "lo", "up")
    # If dockerd enabled forwarding itself, it would set the FORWARD policy to DROP, and pods could not reach each other.
    run(*inside, busybox, "sysctl", "-w", "net.ipv4.ip_forward=1")
    # A sysfs shows the network namespace that mounted it; a new one hides the cgroup mounts below the old one.
    Path("/run/cgroup").mkdir()
    mount("--rbind", "/sys/fs/cgroup", "/run/cgroup")
    run(*inside, "mount", "-t", "sysfs", "sysfs", "/sys")
    mount("--rbind", "/run/cgroup", "/sys/fs/cgroup")
    run("umount", "--lazy", "/run/cgroup")


def reject_unknown_services(namespace: str, services: str, environment: dict[str, str]) -> None:
    """Refuse connections to Service addresses that kube-proxy has not rewritten.

    Without the rules they would leave by the default route, and something on the host's network might answer: kube-proxy removes
    its own rejection of a Service without endpoints some milliseconds before it writes the rules that lead to the first one.
    """
    for chain in ("FORWARD", "OUTPUT"):
        rule = ("iptables", "--append", chain, "--destination", services, "--jump", "REJECT")
        run("nsenter", f"--net={namespace}", "--", *rule, environment=environment)


def mount(*arguments: str) -> None:
    """Run `mount`."""
    run("mount", *arguments)


def run(*argv: str, environment: dict[str, str] | None = None) -> None:
    """Run a program that must succeed; its output goes to the log of PID 1."""
    subprocess.run(argv, check=True, env=environment)


if __name__ == "__main__":
    main()
