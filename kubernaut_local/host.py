"""The changes that platforms make to the host, and their reversal: kernel settings, four mount points and cgroups.

The original values are recorded in /run/kubernaut before the first platform starts and are restored when the last one ends. A
reboot removes both the record and the changes.
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
from kubernaut_local.models import Ports

# One file per platform, and the record of the host's original values.
STATE_FOLDER = Path("/run/kubernaut")
# Platform names do not begin with a dot.
_RECORD = STATE_FOLDER / ".host.json"
# A platform uses about 20 inotify instances; with the common limit of 128 the seventh platform's kubelet would not start.
_INOTIFY, _INOTIFY_INSTANCES = "fs/inotify/max_user_instances", 4096
# The settings that the kubelet changes when it starts, and the one that is raised here. They are not namespaced.
SYSCTLS = (
    _INOTIFY,
    *("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"),
    *("kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"),
)
# These paths are built into the programs. Inside, a folder of the platform is mounted on each, so each must exist on the host.
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


def acquire(layout: Layout, choose_ports: Callable[[Callable[[int], bool]], Ports]) -> Ports:
    """Prepare the host for a platform and register it with its ports, before its processes start.

    Args:
        layout: The state folder.
        choose_ports: Returns the ports, given a function that returns whether no other platform uses a port. It runs under a lock.

    Returns:
        The chosen ports.

    Raises:
        Conflict: Another platform of this name runs, with its state elsewhere; they would share their cgroups.
        PlatformFailed: The cgroup controllers cannot be enabled.
    """
    with _lock():
        own = STATE_FOLDER / f"{layout.name}.json"
        others = {file: entry for file, entry in _entries().items() if file != own and _is_live(Path(entry["folder"]))}
        other = _namesake(layout)
        if other is not None:
            raise Conflict(
                f"A platform named {layout.name!r} already runs, with its state in {other}.",
                hint="Choose another name with --name, or stop the other platform with "
                f"`XDG_STATE_HOME={other.parents[2]} kubernaut local down --name {layout.name}`.",
            )
        reserved = {port for entry in others.values() for port in entry.get("ports", [])}
        ports = choose_ports(lambda port: port not in reserved)
        # After a crash: the old cgroups still hold the limits of dead pods.
        remove_cgroups(layout.cgroup)
        if not _read_record():
            missing = [folder for folder in MOUNT_POINTS if not Path(folder).exists()]
            _write(
                _RECORD,
                {"boot": _boot_id(), "sysctls": _read_sysctls(), "folders": missing, "controllers": _enabled_controllers()},
            )
        _raise_inotify()
        for folder in MOUNT_POINTS:
            Path(folder).mkdir(parents=True, exist_ok=True)
        _write(own, {"folder": str(layout.root), "ports": ports.all()})
    _make_cgroups(layout.cgroup)
    return ports


def release(layout: Layout) -> bool:
    """Undo the changes of a platform whose processes have ended; return whether there were any."""
    if not STATE_FOLDER.exists():
        return remove_cgroups(layout.cgroup)
    with _lock():
        # Cgroups are found by the platform's name: those of a running namesake must stay.
        removed = _namesake(layout) is None and remove_cgroups(layout.cgroup)
        own = STATE_FOLDER / f"{layout.name}.json"
        registered = _read(own).get("folder") == str(layout.root)
        if registered:
            own.unlink()
        if not any(_is_live(Path(entry["folder"])) for entry in _entries().values()):
            _restore()
    return removed or registered


def _namesake(layout: Layout) -> Path | None:
    """Return the state folder of a running platform with the same name and another state folder. The lock must be held."""
    folder = _read(STATE_FOLDER / f"{layout.name}.json").get("folder")
    return Path(folder) if folder and folder != str(layout.root) and _is_live(Path(folder)) else None


def _is_live(folder: Path) -> bool:
    """Return whether a platform runs, or an `up` or `down` of it is in progress."""
    return holder(Layout.alive_in(folder)) is not None or holder(Layout.lock_of(folder)) is not None


def _entries() -> dict[Path, dict[str, Any]]:
    """Return the registered platforms."""
    return {file: entry for file in STATE_FOLDER.glob("*.json") if "folder" in (entry := _read(file))}


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content


def _lock() -> AbstractContextManager[None]:
    return locked(STATE_FOLDER / "lock", timeout=_LOCK_SECONDS)


def _read_record() -> dict[str, Any]:
    """Return the host's original values; empty if no platform has started since the last boot."""
    record = _read(_RECORD)
    return record if record.get("boot") == _boot_id() else {}


def _boot_id() -> str:
    # Where /run survives a reboot, the record in it is out of date.
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _write(path: Path, content: object) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.rename(path)


def _read_sysctls() -> dict[str, str]:
    return {name: file.read_text(encoding="ascii").strip() for name in SYSCTLS if (file := _SYSCTL_FOLDER / name).exists()}


def _raise_inotify() -> None:
    file = _SYSCTL_FOLDER / _INOTIFY
    if file.exists() and int(file.read_text(encoding="ascii")) < _INOTIFY_INSTANCES:
        file.write_text(str(_INOTIFY_INSTANCES), encoding="ascii")


def _restore() -> None:
    """Restore the host's original values and remove the record. The lock must be held."""
    record = _read_record()
    for name, value in record.get("sysctls", {}).items():
        file = _SYSCTL_FOLDER / name
        if file.read_text(encoding="ascii").strip() != value:
            file.write_text(value, encoding="ascii")
    added = set(_enabled_controllers()) - set(record.get("controllers", _CONTROLLERS))
    for controller in added & set(_CONTROLLERS):
        # The kernel refuses if another process uses the controller.
        with suppress(OSError):
            (_CGROUPS / "cgroup.subtree_control").write_text(f"-{controller}", encoding="ascii")
    for folder in record.get("folders", []):
        # Another program may use the folder meanwhile: only an empty one is removed.
        if Path(folder).is_dir() and not any(Path(folder).iterdir()):
            Path(folder).rmdir()
    # A platform that starts meanwhile creates the folder and the lock again.
    shutil.rmtree(STATE_FOLDER, ignore_errors=True)


def _hierarchies() -> list[Path]:
    """Return the roots of the mounted cgroup hierarchies; on hybrid hosts those of version 1 and that of version 2."""
    if _is_v2():
        return [_CGROUPS]
    return [path for path in sorted(_CGROUPS.iterdir()) if not path.is_symlink() and (path / "cgroup.procs").exists()]


def _is_v2() -> bool:
    return (_CGROUPS / "cgroup.controllers").exists()


def _enabled_controllers() -> list[str]:
    """Return the controllers in the root's cgroup.subtree_control; an empty list with cgroups version 1."""
    return (_CGROUPS / "cgroup.subtree_control").read_text(encoding="ascii").split() if _is_v2() else []


def _make_cgroups(name: str) -> None:
    """Create the platform's cgroup in every hierarchy; the kubelet requires that its root cgroup exists."""
    if _is_v2():
        # Not tested on a real host. With version 2 the controllers must be enabled on each level.
        available = (_CGROUPS / "cgroup.controllers").read_text(encoding="ascii").split()
        enable = " ".join(f"+{controller}" for controller in _CONTROLLERS if controller in available)
        try:
            (_CGROUPS / "cgroup.subtree_control").write_text(enable, encoding="ascii")
            (_CGROUPS / name).mkdir(exist_ok=True)
            (_CGROUPS / name / "cgroup.subtree_control").write_text(enable, encoding="ascii")
        except OSError as failure:
            raise PlatformFailed(
                f"The cgroup controllers ({enable}) cannot be enabled: {failure.strerror}.",
                hint=f"In a container, move the processes of the root cgroup {_CGROUPS} into a cgroup below it.",
            ) from failure
        return
    for hierarchy in _hierarchies():
        (hierarchy / name).mkdir(exist_ok=True)
    cpuset = _CGROUPS / "cpuset"
    for file in ("cpuset.cpus", "cpuset.mems"):
        # A new cpuset is empty and accepts no process.
        if (cpuset / file).exists():
            (cpuset / name / file).write_text((cpuset / file).read_text(encoding="ascii"), encoding="ascii")


def remove_cgroups(name: str) -> bool:
    """Remove a platform's cgroups after its processes have ended; return whether there were any."""
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
            # A process leaves its cgroup a moment after it was killed.
            if time.monotonic() > deadline:
                raise PlatformFailed(f"The cgroup {folder} cannot be removed: {failure.strerror}.") from failure
            time.sleep(0.05)
        else:
            return
