"""The platform's certificates and kubeconfigs: kubeadm creates them once, `down` keeps them and a purge removes them."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path

from kubernaut.errors import PlatformFailed
from kubernaut_local import config
from kubernaut_local.commands import CommandRunner
from kubernaut_local.layout import Layout
from kubernaut_local.models import Ports

_SECONDS = 120.0
_FIELDS = ("certificate-authority-data", "client-certificate-data", "client-key-data")
# Holds the API port that the kubeconfigs were created for.
_MARKER = "made-for"


def create(layout: Layout, ports: Ports, kubernetes: Path, commands: CommandRunner) -> bool:
    """Create the certificates and kubeconfigs if they are missing or the API's port has changed; return whether that was so.

    The marker is written last, so an interrupted run is repeated. kubeadm keeps certificates that exist; they name no port.
    """
    marker = layout.kubeconfigs / _MARKER
    if _read(marker) == str(ports.api):
        return False
    marker.unlink(missing_ok=True)
    layout.kubeconfigs.mkdir(mode=0o700, parents=True, exist_ok=True)
    for stale in layout.kubeconfigs.iterdir():
        stale.unlink()
    kubeadm, settings = kubernetes / "kubeadm", layout.etc / "kubeadm.yaml"
    phase: list[str | Path] = [kubeadm, "init", "phase"]
    commands.run([*phase, "certs", "all", "--config", settings], description="Creating the certificates", timeout=_SECONDS)
    commands.run(
        [*phase, "kubeconfig", "all", "--config", settings, "--kubeconfig-dir", layout.kubeconfigs],
        description="Creating the kubeconfigs",
        timeout=_SECONDS,
    )
    proxy = commands.run(
        [kubeadm, "kubeconfig", "user", "--config", settings, "--client-name", "system:kube-proxy"],
        description="Creating the kubeconfig of kube-proxy",
        timeout=_SECONDS,
    )
    write_private(layout.kubeconfigs / "kube-proxy.conf", "\n".join(proxy) + "\n")
    super_admin = read_credentials((layout.kubeconfigs / "super-admin.conf").read_text(encoding="utf-8"))
    for field, file in (("client-certificate-data", layout.admin_certificate), ("client-key-data", layout.admin_key)):
        write_private(file, base64.b64decode(super_admin[field]).decode())
    admin = read_credentials((layout.kubeconfigs / "admin.conf").read_text(encoding="utf-8"))
    write_private(layout.kubeconfig, config.kubeconfig(layout, ports, admin))
    write_private(marker, str(ports.api))
    return True


def read_credentials(kubeconfig: str) -> dict[str, str]:
    """Return the base64 credentials of a kubeconfig by their keys.

    Args:
        kubeconfig: The text of a kubeconfig with one cluster and one user, as kubeadm writes it.

    Raises:
        PlatformFailed: A key is missing.
    """
    found = {}
    for field in _FIELDS:
        match = re.search(rf"^\s*{field}: (\S+)$", kubeconfig, re.MULTILINE)
        if match is None:
            raise PlatformFailed(f"kubeadm wrote a kubeconfig without {field}.")
        found[field] = match[1]
    return found


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 atomically."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.rename(path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
