"""What a platform is, was decided to be, and is found to be: the types that its users see.

All are pydantic models whose JSON is camelCase, as in the rest of kubernaut's interfaces.
"""

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
    """The ports on the host's 127.0.0.1 that lead into the platform."""

    api: Port = 16443
    registry: Port = 15000
    node_ports: Annotated[tuple[NodePort, ...], Field(min_length=1)] = (30080,)

    def named(self) -> list[tuple[str, int]]:
        """Return each port with what it is for, in a person's words."""
        return [("API", self.api), ("registry", self.registry), *(("node port", port) for port in self.node_ports)]

    def all(self) -> tuple[int, ...]:
        """Return the ports to forward."""
        return (self.api, self.registry, *self.node_ports)


class Wishes(Model):
    """The ports that somebody asked for; what is not given is decided by :mod:`kubernaut_local.ports`."""

    api: Port | None = None
    registry: Port | None = None
    node_ports: tuple[NodePort, ...] = ()


class Record(Model):
    """What was decided at the first `up`, kept in the state folder."""

    name: str
    ports: Ports
    created_at: datetime


class State(StrEnum):
    """What a platform is doing."""

    READY = "ready"
    NOT_READY = "notReady"
    DOWN = "down"


class ProcessStatus(Model):
    """One process of the platform; ``pid`` is the host's."""

    name: str
    state: str
    pid: int | None
    uptime_seconds: float | None
    log: Path
    error: str = ""


class Gate(Model):
    """One thing that must be so before the platform is ready."""

    name: str
    ready: bool
    detail: str = ""


class PlatformStatus(Model):
    """What `kubernaut local status` shows."""

    name: str
    state: State
    folder: Path
    ports: Ports | None
    kubeconfig: Path | None
    docker_host: str | None
    registry: str | None
    versions: dict[str, str]
    gates: tuple[Gate, ...] = ()
    processes: tuple[ProcessStatus, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether everything runs and answers."""
        return self.state is State.READY


class Up(Model):
    """What `up` did: ``changed`` is false when the platform was up and ready already."""

    name: str
    changed: bool
    ports: Ports
    seconds: float


class Down(Model):
    """What `down` did."""

    name: str
    changed: bool
    purged: bool
    seconds: float
