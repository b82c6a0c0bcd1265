"""Helm, through a ``pyhelm3.Command`` whose runner is our own; the only file that imports ``pyhelm3``.

Each method starts Helm once. It reports what Helm said; what is true stands in the cluster's records (``history/``), not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Helm:
    """The Helm program.

    Args:
        program: Path or name of the executable.
        kubeconfig: The kubeconfig file, or ``None`` for Helm's default.
        context: The kube context, or ``None`` for the current one.
        docker_config: The folder of Docker's config.json for OCI credentials, or ``None``.
        environment: Where the allow-listed variables are taken from.
        plain_http: Says whether a registry (``HOST[:PORT]/…``) is spoken to without TLS.
    """

    def __init__(
        self,
        program: str,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        docker_config: str | None = None,
        environment: Mapping[str, str],
        plain_http: Callable[[str], bool],
    ) -> None: ...

    def version(self) -> str:
        """Return Helm's version, such as ``3.17.3``. Raises: ToolMissing."""
        raise NotImplementedError

    # charts: no cluster needed

    def package(self, chart: Path, destination: Path) -> Path:
        """Package a chart folder; return the ``.tgz`` in ``destination``. Raises: ChartInvalid."""
        raise NotImplementedError

    def template(self, chart: Path, *, name: str, namespace: str, values: Mapping[str, Any]) -> str:
        """Render a packaged chart; return the manifest. Raises: ChartInvalid, ValuesInvalid."""
        raise NotImplementedError

    def push(self, package: Path, registry: str) -> str:
        """Push a package to ``oci://registry``; return the manifest digest. Raises: RegistryUnreachable, RegistryDenied."""
        raise NotImplementedError

    # releases: each raises ClusterUnreachable, ClusterDenied, ReleaseLocked, HelmFailed (see deploy) or DeadlineExceeded

    def upgrade_install(
        self,
        name: str,
        chart: str,
        *,
        namespace: str,
        values: Mapping[str, Any],
        labels: Mapping[str, str],
        description: str,
        timeout: float,
        history_max: int,
        create_namespace: bool = False,
        log: Callable[[str], None],
    ) -> None:
        """Run ``helm upgrade --install --wait --reset-values``."""
        raise NotImplementedError

    def install_replace(
        self,
        name: str,
        chart: str,
        *,
        namespace: str,
        values: Mapping[str, Any],
        labels: Mapping[str, str],
        description: str,
        timeout: float,
        log: Callable[[str], None],
    ) -> None:
        """Run ``helm install --replace --wait``: a deploy after a soft delete."""
        raise NotImplementedError

    def rollback(self, name: str, revision: int, *, namespace: str, timeout: float, history_max: int, log: Callable[[str], None]) -> None:
        """Run ``helm rollback --wait``."""
        raise NotImplementedError

    def uninstall(self, name: str, *, namespace: str, description: str, timeout: float, log: Callable[[str], None]) -> None:
        """Run ``helm uninstall --keep-history --wait``: the soft delete."""
        raise NotImplementedError
