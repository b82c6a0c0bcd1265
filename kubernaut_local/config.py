"""The configuration files of the programs, rendered from the state folder and the ports. Pure.

YAML files are written as JSON, which is valid YAML and simpler to quote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubernaut_local import network
from kubernaut_local.components import KUBERNETES_VERSION
from kubernaut_local.layout import Layout
from kubernaut_local.models import Ports

PAUSE_IMAGE = "pause:local"
# In the /run of the platform's mount namespace.
CONTAINERD_SOCKET = "/run/kubernaut/containerd.sock"


def kubeadm(layout: Layout, ports: Ports) -> str:
    """Return kubeadm's configuration; kubeadm only creates certificates and kubeconfigs."""
    version = "kubeadm.k8s.io/v1beta4"
    cluster = {
        "apiVersion": version,
        "kind": "ClusterConfiguration",
        "kubernetesVersion": f"v{KUBERNETES_VERSION}",
        "clusterName": f"kubernaut-{layout.name}",
        "certificatesDir": str(layout.pki),
        "caCertificateValidityPeriod": "87600h0m0s",
        "certificateValidityPeriod": "87600h0m0s",
        "encryptionAlgorithm": "ECDSA-P256",
        "controlPlaneEndpoint": f"127.0.0.1:{ports.api}",
        "networking": {"dnsDomain": network.CLUSTER_DOMAIN, "serviceSubnet": network.SERVICE_CIDR, "podSubnet": network.POD_CIDR},
        "apiServer": {"certSANs": ["localhost", "127.0.0.1"]},
        # kubeadm creates no certificates for an external etcd; this one listens on the namespace's loopback only.
        "etcd": {"external": {"endpoints": ["http://127.0.0.1:2379"], "caFile": "", "certFile": "", "keyFile": ""}},
    }
    init = {
        "apiVersion": version,
        "kind": "InitConfiguration",
        "localAPIEndpoint": {"advertiseAddress": network.NODE_ADDRESS, "bindPort": ports.api},
        "nodeRegistration": {"name": network.NODE_NAME, "criSocket": f"unix://{CONTAINERD_SOCKET}"},
    }
    return f"{_json(cluster)}---\n{_json(init)}"


def containerd(layout: Layout, ports: Ports, cni: Path) -> str:
    """Return containerd's configuration."""
    root, quoted = layout.root / "containerd", json.dumps
    return f"""version = 2
root = {quoted(str(root / "root"))}
state = "/run/containerd"
[grpc]
  address = {quoted(CONTAINERD_SOCKET)}
[plugins."io.containerd.internal.v1.opt"]
  path = {quoted(str(root / "opt"))}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {quoted(f"localhost:{ports.registry}/{PAUSE_IMAGE}")}
  # Without CAP_SYS_RESOURCE, as in many containers, runc cannot lower a score and would fail.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {quoted(str(cni))}
    conf_dir = {quoted(str(layout.etc / "cni"))}
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


def cni() -> str:
    """Return the CNI configuration: a link from the node to each pod, and port mappings for pods with host ports."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": network.NODE_POD_CIDR}]], "routes": [{"dst": "0.0.0.0/0"}]}
    # Not a bridge: the node's neighbour entry of a deleted pod stays on a bridge, and the next pod with its address cannot be
    # reached for 10 s. With a link for each pod the entries are removed with it.
    link = {"type": "ptp", "ipMasq": True, "ipam": ipam}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return _json({"cniVersion": "0.4.0", "name": "kubernaut", "plugins": [link, portmap]})


def kubelet(layout: Layout) -> str:
    """Return the kubelet's configuration."""
    return _json(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "0.0.0.0",  # noqa: S104 - in the platform's network namespace; the API server connects to the node's address
            "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(layout.pki / "ca.crt")}},
            # By default a denial is cached for 30 s, also one from before the administrator was granted access.
            "authorization": {"mode": "Webhook", "webhook": {"cacheUnauthorizedTTL": "1s"}},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{layout.cgroup}",
            "failSwapOn": False,
            "failCgroupV1": False,
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "volumePluginDir": str(layout.root / "kubelet" / "volumeplugins"),
            "podLogsDir": str(layout.logs / "pods"),
            "clusterDomain": network.CLUSTER_DOMAIN,
            # The platform has no cluster DNS; with slirp4netns' resolver pods can resolve external names.
            "clusterDNS": [network.LINK_RESOLVER],
            "resolvConf": str(layout.etc / "resolv.conf"),
            # A nearly full disk of the host must not evict the pods.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "50Mi",
                "nodefs.available": "0%",
                "imagefs.available": "0%",
                "nodefs.inodesFree": "0%",
            },
        }
    )


def registry(layout: Layout, ports: Ports) -> str:
    """Return the registry's configuration; it listens on all addresses, as forwarded connections arrive on the node's address."""
    storage = {"filesystem": {"rootdirectory": str(layout.root / "registry")}, "delete": {"enabled": True}}
    # No blob cache is configured: it would serve blobs that were deleted from the file system.
    return _json({"version": "0.1", "log": {"level": "warn"}, "storage": storage, "http": {"addr": f"0.0.0.0:{ports.registry}"}})


def docker(layout: Layout, ports: Ports) -> str:
    """Return the Docker engine's configuration; the host's own /etc/docker/daemon.json is not read."""
    return _json(
        {
            "registry-mirrors": [f"http://127.0.0.1:{ports.registry}"],
            "userland-proxy": False,
            # By default dockerd creates a key in the host's /etc/docker.
            "deprecated-key-path": str(layout.etc / "docker-key.json"),
        }
    )


def kubeconfig(layout: Layout, ports: Ports, credentials: Mapping[str, str]) -> str:
    """Return the user's kubeconfig.

    Args:
        layout: The state folder.
        ports: The ports.
        credentials: `certificate-authority-data`, `client-certificate-data` and `client-key-data`, as kubeadm wrote them.
    """
    name = f"kubernaut-{layout.name}"
    cluster = {"server": f"https://127.0.0.1:{ports.api}", "certificate-authority-data": credentials["certificate-authority-data"]}
    user = {key: credentials[key] for key in ("client-certificate-data", "client-key-data")}
    return _json(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
            "current-context": name,
        }
    )


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
