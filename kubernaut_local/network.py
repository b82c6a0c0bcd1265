"""The addresses inside the platform's network namespace, and its resolv.conf. Pure.

Each platform has its own network namespace, so all platforms use the same addresses and the programs' default ports.
"""

from __future__ import annotations

import ipaddress

NAMESPACE = "/run/netns/node"
LINK_CIDR = "10.99.0.0/24"
NODE_ADDRESS = "10.99.0.100"
# slirp4netns forwards DNS queries to this address to the host's resolvers.
LINK_RESOLVER = "10.99.0.3"
SERVICE_CIDR = "10.97.0.0/16"
POD_CIDR = "10.245.0.0/16"
NODE_POD_CIDR = "10.245.0.0/24"
CLUSTER_DOMAIN = "cluster.local"
NODE_NAME = "local"
NODE_PORT_RANGE = "30000-32767"
# etcd, kubelet, kube-proxy, controller-manager and scheduler. A port is forwarded to the same number inside, so these are taken.
INSIDE_PORTS = (2379, 2380, 10248, 10249, 10250, 10256, 10257, 10259)


def render_resolv_conf(host_resolv_conf: str) -> str:
    """Return the platform's resolv.conf: the host's, with slirp4netns' resolver in place of resolvers on the host's loopback.

    Args:
        host_resolv_conf: The text of the host's /etc/resolv.conf; empty if it does not exist.
    """
    lines: list[str] = []
    for line in host_resolv_conf.splitlines():
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
