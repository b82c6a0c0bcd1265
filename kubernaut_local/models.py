"""The models of a platform: its ports, its status and the results of its commands. Their JSON keys are camelCase."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field

from kubernaut.models import Model

Port = Annotated[int, Field(ge=1, le=65535)]
NodePort = Annotated[int, Field(ge=30000, le=32767)]


class Ports(Model):
    """The ports of the host's 127.0.0.1 that are forwarded to the platform."""

    api: Port = 16443
    registry: Port = 15000
    node_ports: Annotated[tuple[NodePort, ...], Field(min_length=1)] = (30080,)

    def named(self) -> list[tuple[str, int]]:
        """Return each port with its purpose, for display."""
        return [("API", self.api), ("registry", self.registry), *(("node port", port) for port in self.node_ports)]

    def all(self) -> tuple[int, ...]:
        """Return all ports."""
        return (self.api, self.registry, *self.node_ports)


class PortOptions(Model):
    """The ports that the caller chooses; :mod:`kubernaut_local.ports` chooses the others."""

    api: Port | None = None
    registry: Port | None = None
    node_ports: tuple[NodePort, ...] = ()


class PlatformRecord(Model):
    """The file `platform.json` of the state folder."""

    name: str
    ports: Ports
    created_at: datetime


class PlatformState(StrEnum):
    """The state of a platform as a whole."""

    READY = "ready"
    NOT_READY = "notReady"
    DOWN = "down"


class ProcessStatus(Model):
    """One process of the platform.

    Attributes:
        state: supervisord's state in lower case, such as `running` or `fatal`.
        pid: The pid on the host.
        error: supervisord's last error.
    """

    name: str
    state: str
    pid: int | None
    uptime_seconds: float | None
    log: Path
    error: str = ""


class ReadinessCheck(Model):
    """The result of one readiness check.

    Attributes:
        name: The component or object that was checked.
        detail: Why it is not ready.
    """

    name: str
    ready: bool
    detail: str = ""


class PlatformStatus(Model):
    """The status of a platform, as `kubernaut local status` shows it.

    Attributes:
        folder: The state folder.
        versions: The version of each component by name.
        checks: The readiness checks; the JSON key is `gates`.
    """

    name: str
    state: PlatformState
    folder: Path
    ports: Ports | None
    kubeconfig: Path | None
    docker_host: str | None
    registry: str | None
    versions: dict[str, str]
    checks: tuple[ReadinessCheck, ...] = Field(default=(), alias="gates")
    processes: tuple[ProcessStatus, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether every process runs and every readiness check passes."""
        return self.state is PlatformState.READY


class UpResult(Model):
    """The result of `up`; ``changed`` is false if the platform was ready already."""

    name: str
    changed: bool
    ports: Ports
    seconds: float


class DownResult(Model):
    """The result of `down`; ``changed`` is false if nothing was left to stop or remove."""

    name: str
    changed: bool
    purged: bool
    seconds: float
