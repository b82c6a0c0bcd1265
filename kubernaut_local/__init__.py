"""The embedded platform: a real single-node Kubernetes, a Docker engine and an OCI registry, for development, tests and demos.

Everything runs in namespaces of its own; the host's network, mounts, packages, Docker and Kubernetes are left alone. Nothing in
`kubernaut` knows of this package: it gives the command line its `local` by an entry point, and tests their :class:`Platform`.
It is no way to run anything that others depend on: one node, no certificates' renewal, no backup.
"""

from kubernaut_local.model import Down, Gate, PlatformStatus, Ports, ProcessStatus, State, Up, Wishes
from kubernaut_local.platform import Platform

__all__ = ["Down", "Gate", "Platform", "PlatformStatus", "Ports", "ProcessStatus", "State", "Up", "Wishes"]
