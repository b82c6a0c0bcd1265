"""What a platform changes on the host, and how that is undone: a few kernel settings, four folders to mount on, cgroups.

The host's own values are written down in /run/kubernaut before the first platform starts and are put back when the last one
goes. That folder is gone after a reboot, and so are the changed settings.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from kubernaut.errors import Conflict, PlatformFailed
from kubernaut_local.layout import Layout
from kubernaut_local.locks import holder, locked
from kubernaut_local.model import Ports

REGISTER = Path("/run/kubernaut")
# No platform's name begins with a dot.
_HOST = REGISTER / ".host.json"
# A platform takes about 20 inotify instances, and where 128 are allowed the seventh one's kubelet would not start.
_INOTIFY, _INOTIFY_WANTED = "fs/inotify/max_user_instances", 4096
# What the kubelet sets at its start, whoever runs it, and what is raised here; none of it is namespaced.
SYSCTLS = (
    _INOTIFY,
    *("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"),
    *("kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"),
)
# The programs have these paths built in. Each is covered, inside, by a folder of the platform's own; a mount needs a place.
MOUNT_POINTS = {
    "/var/lib/cni": "cni",
    "/var/lib/kubelet": "kubelet/var",
    "/var/log/pods": "logs/pods",
    "/var/log/containers": "logs/containers",
}
_SYSCTL_FOLDER = Path("/proc/sys")
_CGROUPS = Path("/sys/fs/cgroup")
_CGROUP_SECONDS = 5.0
_CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io")
_LOCK_SECONDS = 60.0


def enter(layout: Layout, decide: Callable[[Callable[[int], bool]], Ports]) -> Ports:
    """Register a platform and its ports, writing down first what the host was like; called before its processes start.

    Args:
        layout: The state folder.
        decide: Decides on the ports, given what says of a port whether no other platform has it; they start one at a time here.

    Raises:
        Conflict: Another platform of this name runs, with its state elsewhere; they would share their cgroups.
    """
    with _register():
        mine = REGISTER / f"{layout.name}.json"
        others = {file: entry for file, entry in _entries().items() if file != mine and _is_live(Path(entry["folder"]))}
        other = _namesake(layout)
        if other is not None:
            raise Conflict(
                f"A platform named {layout.name!r} runs already, with its state in {other}.",
                hint="Choose another name with --name, or bring that one down with the XDG_STATE_HOME it was brought up with.",
            )
        reserved = {port for entry in others.values() for port in entry.get("ports", [])}
        ports = decide(lambda port: port not in reserved)
        # What a crash left would be in the way: its cgroups hold dead pods' limits.
        remove_cgroups(layout.cgroup)
        if not _recorded():
            missing = [folder for folder in MOUNT_POINTS if not Path(folder).exists()]
            _write(_HOST, {"boot": _boot(), "sysctls": _read_sysctls(), "folders": missing, "controllers": _handed_down()})
        _raise_inotify()
        for folder in MOUNT_POINTS:
            Path(folder).mkdir(parents=True, exist_ok=True)
        _write(mine, {"folder": str(layout.root), "ports": ports.all()})
    _make_cgroups(layout.cgroup)
    return ports


def leave(layout: Layout) -> bool:
    """Undo what a platform, which must have ended, left on the host; return whether there was anything."""
    if not REGISTER.exists():
        return remove_cgroups(layout.cgroup)
    with _register():
        # The cgroups go by the name alone: those of a living namesake are not ours to remove, or with version 2 to kill.
        removed = _namesake(layout) is None and remove_cgroups(layout.cgroup)
        mine = REGISTER / f"{layout.name}.json"
        registered = _read(mine).get("folder") == str(layout.root)
        if registered:
            mine.unlink()
        if not any(_is_live(Path(entry["folder"])) for entry in _entries().values()):
            _restore()
    return removed or registered


def _namesake(layout: Layout) -> Path | None:
    """Return the state folder of a living platform of the same name, with its state elsewhere; the lock must be held."""
    folder = _read(REGISTER / f"{layout.name}.json").get("folder")
    return Path(folder) if folder and folder != str(layout.root) and _is_live(Path(folder)) else None


def _is_live(folder: Path) -> bool:
    """Return whether a platform runs, or somebody is just bringing it up or down."""
    return holder(Layout.alive_in(folder)) is not None or holder(Layout.lock_of(folder)) is not None


def _entries() -> dict[Path, dict[str, Any]]:
    """Return the registered platforms."""
    return {file: entry for file in REGISTER.glob("*.json") if "folder" in (entry := _read(file))}


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content


def _register() -> AbstractContextManager[None]:
    return locked(REGISTER / "lock", timeout=_LOCK_SECONDS, waiting=lambda _pid: None)


def _recorded() -> dict[str, Any]:
    """Return what the host was like before the first platform; nothing if none started since the machine did."""
    record = _read(_HOST)
    return record if record.get("boot") == _boot() else {}


def _boot() -> str:
    # Usually /run does not outlive the machine's boot; where it does, what stands in it is of no use any more.
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _write(path: Path, content: object) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.rename(path)


def _read_sysctls() -> dict[str, str]:
    return {name: file.read_text(encoding="ascii").strip() for name in SYSCTLS if (file := _SYSCTL_FOLDER / name).exists()}


def _raise_inotify() -> None:
    file = _SYSCTL_FOLDER / _INOTIFY
    if file.exists() and int(file.read_text(encoding="ascii")) < _INOTIFY_WANTED:
        file.write_text(str(_INOTIFY_WANTED), encoding="ascii")


def _restore() -> None:
    """Put the host back as it was, and forget it; the lock must be held."""
    record = _recorded()
    for name, value in record.get("sysctls", {}).items():
        file = _SYSCTL_FOLDER / name
        if file.read_text(encoding="ascii").strip() != value:
            file.write_text(value, encoding="ascii")
    added = set(_handed_down()) - set(record.get("controllers", _CONTROLLERS))
    for controller in added & set(_CONTROLLERS):
        # Somebody else may have come to use it meanwhile; then the kernel refuses.
        with suppress(OSError):
            (_CGROUPS / "cgroup.subtree_control").write_text(f"-{controller}", encoding="ascii")
    for folder in record.get("folders", []):
        # Somebody else may have come to use it meanwhile: only what is still empty goes.
        if Path(folder).is_dir() and not any(Path(folder).iterdir()):
            Path(folder).rmdir()
    # Whoever comes meanwhile makes it anew, and its lock in it.
    shutil.rmtree(REGISTER, ignore_errors=True)


def _hierarchies() -> list[Path]:
    """Return the mounted cgroup hierarchies: each of version 1 and, on hybrid hosts, the one of version 2 beside them."""
    if _is_v2():
        return [_CGROUPS]
    return [path for path in sorted(_CGROUPS.iterdir()) if not path.is_symlink() and (path / "cgroup.procs").exists()]


def _is_v2() -> bool:
    return (_CGROUPS / "cgroup.controllers").exists()


def _handed_down() -> list[str]:
    """Return the controllers that the root of a version 2 hierarchy hands down; none with version 1."""
    return (_CGROUPS / "cgroup.subtree_control").read_text(encoding="ascii").split() if _is_v2() else []


def _make_cgroups(name: str) -> None:
    """Make the platform's cgroup in every hierarchy: the kubelet wants its root to exist."""
    if _is_v2():
        # Written for, and not tried: on these hosts the controllers must be handed down level by level.
        offered = (_CGROUPS / "cgroup.controllers").read_text(encoding="ascii").split()
        wanted = " ".join(f"+{controller}" for controller in _CONTROLLERS if controller in offered)
        try:
            (_CGROUPS / "cgroup.subtree_control").write_text(wanted, encoding="ascii")
            (_CGROUPS / name).mkdir(exist_ok=True)
            (_CGROUPS / name / "cgroup.subtree_control").write_text(wanted, encoding="ascii")
        except OSError as failure:
            raise PlatformFailed(
                f"The cgroup controllers ({wanted}) cannot be handed down: {failure.strerror}.",
                hint=f"In a container, processes stand in the way: move them from {_CGROUPS} into a cgroup below it.",
            ) from failure
        return
    for hierarchy in _hierarchies():
        (hierarchy / name).mkdir(exist_ok=True)
    cpuset = _CGROUPS / "cpuset"
    for file in ("cpuset.cpus", "cpuset.mems"):
        # An empty cpuset, which a new one is, lets no process in.
        if (cpuset / file).exists():
            (cpuset / name / file).write_text((cpuset / file).read_text(encoding="ascii"), encoding="ascii")


def remove_cgroups(name: str) -> bool:
    """Remove the platform's cgroups, whose processes must have ended; return whether there were any."""
    roots = [path for hierarchy in _hierarchies() if (path := hierarchy / name).exists()]
    deadline = time.monotonic() + _CGROUP_SECONDS
    for root in roots:
        if (root / "cgroup.kill").exists():
            (root / "cgroup.kill").write_text("1", encoding="ascii")
        for folder, _, _ in os.walk(root, topdown=False):
            _remove_cgroup(Path(folder), deadline)
    return bool(roots)


def _remove_cgroup(folder: Path, deadline: float) -> None:
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as failure:
            # A process that has just been killed leaves its cgroup a moment later.
            if time.monotonic() > deadline:
                raise PlatformFailed(f"The cgroup {folder} cannot be removed: {failure.strerror}.") from failure
            time.sleep(0.05)
        else:
            return
