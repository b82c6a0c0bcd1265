"""The files of the state folder: the record, the configurations, the marker of a complete `up`; and the folder's removal."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

from kubernaut.errors import NotRoot, PlatformFailed, SettingInvalid
from kubernaut_local import certificates, config, network, processes
from kubernaut_local.commands import CommandRunner
from kubernaut_local.components import Components
from kubernaut_local.host import MOUNT_POINTS
from kubernaut_local.layout import Layout
from kubernaut_local.models import PlatformRecord, Ports

_LINK_SCRIPT = Path(__file__).parent / "inside" / "link.py"
_COMPLETE = "finished"


def read_record(layout: Layout) -> PlatformRecord | None:
    """Return the record, or None before the first `up`. Raises: NotRoot."""
    try:
        return PlatformRecord.model_validate_json(layout.record.read_bytes())
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise NotRoot(f"The state folder {layout.root} is readable by root only.") from error


def write_record(layout: Layout, record: PlatformRecord) -> None:
    """Write the record atomically."""
    certificates.write_private(layout.record, record.model_dump_json(by_alias=True, indent=2))


def check_registry_port(name: str, record: PlatformRecord | None, ports: Ports) -> None:
    """Raise SettingInvalid if the registry's port differs from the recorded one, which is part of the releases' image names."""
    if record is not None and record.ports.registry != ports.registry:
        raise SettingInvalid(
            f"The registry of platform {name!r} is on port {record.ports.registry}, which its releases use in image names.",
            hint=f"Keep the port, or remove the platform's data with `kubernaut local down --purge --name {name}`.",
        )


def create_folders(layout: Layout) -> None:
    """Create the folders."""
    layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folders = ("etc/cni", "pki", "run", "logs", "etcd", "containerd", "docker", "registry", *MOUNT_POINTS.values())
    for folder in folders:
        (layout.root / folder).mkdir(parents=True, exist_ok=True)
    # etcd warns if other users can read its data.
    (layout.root / "etcd").chmod(0o700)


def write_configuration(layout: Layout, ports: Ports, components: Components, commands: CommandRunner) -> bool:
    """Write all configuration files; return whether certificates or kubeconfigs were created."""
    host_resolv_conf = Path("/etc/resolv.conf")
    programs = processes.processes(layout, ports, components.kubernetes, Path(sys.executable), _LINK_SCRIPT)
    files = {
        "kubeadm.yaml": config.kubeadm(layout, ports),
        "containerd.toml": config.containerd(layout, ports, components.packages.cni),
        "cni/10-kubernaut.conflist": config.cni(),
        "kubelet.json": config.kubelet(layout),
        "registry.json": config.registry(layout, ports),
        "docker.json": config.docker(layout, ports),
        "resolv.conf": network.render_resolv_conf(
            host_resolv_conf.read_text(encoding="utf-8") if host_resolv_conf.exists() else ""
        ),
        "supervisord.conf": processes.supervisord(layout, programs, components.packages.environment()),
    }
    for name, text in files.items():
        (layout.etc / name).write_text(text, encoding="utf-8")
    return certificates.create(layout, ports, components.kubernetes, commands)


def mark_complete(layout: Layout) -> None:
    """Record that an `up` has completed: the images are in the registry and the administrator has access."""
    (layout.root / _COMPLETE).touch()


def is_complete(layout: Layout) -> bool:
    """Return whether an `up` has completed."""
    return (layout.root / _COMPLETE).exists()


def replace_symlink(path: Path, target: Path) -> None:
    """Create or replace a symbolic link atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() and path.readlink() == target:
        return
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.symlink_to(target)
    fresh.rename(path)


def purge(layout: Layout) -> None:
    """Remove the state folder. Raises: PlatformFailed: A file system is mounted in it."""
    mounted = mounts_under(Path("/proc/self/mountinfo").read_text(encoding="utf-8"), layout.root)
    if mounted:
        raise PlatformFailed(
            f"{layout.root} was not removed: {mounted[0]} is mounted.", hint=f"Run `umount {mounted[0]}` and the command again."
        )
    if layout.root.exists():
        shutil.rmtree(layout.root)
    layout.lock.unlink(missing_ok=True)
    for parent in (layout.root.parent, layout.root.parent.parent):
        # The folder may contain other platforms.
        with contextlib.suppress(OSError):
            parent.rmdir()


def mounts_under(mountinfo: str, folder: Path) -> list[str]:
    """Return the mount points at or below a folder, given the text of /proc/self/mountinfo."""
    points = [line.split()[4].encode().decode("unicode_escape") for line in mountinfo.splitlines() if len(line.split()) > 4]
    return [point for point in points if Path(point).is_relative_to(folder)]
