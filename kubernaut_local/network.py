"""The addresses inside every platform, and the host's resolver as the inside can use it.

Each platform has a network namespace of its own, so all of them use the same addresses and the programs their default ports.
"""

from __future__ import annotations

import ipaddress

NAMESPACE = "/run/netns/node"
LINK_CIDR = "10.99.0.0/24"
NODE_ADDRESS = "10.99.0.100"
# slirp4netns answers DNS here and asks the host's own resolvers.
LINK_RESOLVER = "10.99.0.3"
SERVICE_CIDR = "10.97.0.0/16"
POD_CIDR = "10.245.0.0/16"
NODE_POD_CIDR = "10.245.0.0/24"
CLUSTER_DOMAIN = "cluster.local"
NODE_NAME = "local"
NODE_PORT_RANGE = "30000-32767"
# etcd, kubelet, kube-proxy, controller-manager and scheduler: a port leads to the same one inside, so none of them can be led to.
INSIDE_PORTS = (2379, 2380, 10248, 10249, 10250, 10256, 10257, 10259)


def inside_resolv_conf(host: str) -> str:
    """Return the host's resolv.conf with resolvers on its loopback, which the inside cannot reach, replaced by the link's.

    Args:
        host: The text of the host's /etc/resolv.conf; empty if it has none.
    """
    lines: list[str] = []
    for line in host.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[0] == "nameserver" and _is_loopback(fields[1]):
            line = f"nameserver {LINK_RESOLVER}"
        if line not in lines:
            lines.append(line)
    if not any(line.startswith("nameserver") for line in lines):
        lines.append(f"nameserver {LINK_RESOLVER}")
    return "\n".join(lines) + "\n"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
