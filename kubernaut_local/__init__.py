"""The local platform: a single-node Kubernetes, a Docker engine and an OCI registry, for development, tests and demos.

:class:`Platform` and the models that it takes and returns are public; every module of this package is internal. The platform runs
in its own Linux namespaces and leaves the host's network, mounts, packages, Docker and Kubernetes alone. It is not meant for
production: it has one node, does not renew certificates and makes no backups.
"""

from kubernaut_local.models import (
    DownResult,
    PlatformState,
    PlatformStatus,
    PortOptions,
    Ports,
    ProcessStatus,
    ReadinessCheck,
    UpResult,
)
from kubernaut_local.platform import Platform

__all__ = [
    "DownResult",
    "Platform",
    "PlatformState",
    "PlatformStatus",
    "PortOptions",
    "Ports",
    "ProcessStatus",
    "ReadinessCheck",
    "UpResult",
]
