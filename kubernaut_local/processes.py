"""The platform's processes: their command lines, their order, and supervisord's configuration. Pure.

supervisord and the link run in the host's network namespace, all other processes in the platform's.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kubernaut_local import config, network
from kubernaut_local.layout import Layout
from kubernaut_local.models import Ports

# slirp4netns, which forwards the host's ports.
LINK = "link"


@dataclass(frozen=True)
class Process:
    """A process that supervisord runs.

    Attributes:
        priority: The order of the starts, lowest first; supervisord does not wait until a process is ready.
        stop_seconds: Seconds from SIGTERM to SIGKILL.
    """

    name: str
    priority: int
    argv: tuple[str, ...]
    stop_seconds: int = 3


def processes(layout: Layout, ports: Ports, kubernetes: Path, python: Path, link_script: Path) -> list[Process]:
    """Return the platform's processes in the order of their starts.

    Args:
        layout: The state folder.
        ports: The ports to forward.
        kubernetes: The folder of the Kubernetes programs.
        python: The interpreter for the link's script.
        link_script: The path of `inside/link.py`.
    """
    link = (
        str(python),
        "-I",
        str(link_script),
        str(layout.link_socket),
        network.NAMESPACE,
        network.NODE_ADDRESS,
        network.LINK_CIDR,
    )
    inside = [
        Process("etcd", 10, _etcd(layout)),
        Process("registry", 10, ("docker-registry", "serve", str(layout.etc / "registry.json"))),
        Process("containerd", 10, ("containerd", "--config", str(layout.etc / "containerd.toml"))),
        Process("dockerd", 15, _dockerd(layout), 2),
        # On SIGTERM it waits for open watches, which do not end.
        Process("kube-apiserver", 20, _apiserver(layout, ports, kubernetes), 2),
        Process("kube-controller-manager", 30, _controller_manager(layout, kubernetes)),
        Process("kube-scheduler", 30, _scheduler(layout, kubernetes)),
        Process("kubelet", 40, _kubelet(layout, kubernetes)),
        Process("kube-proxy", 40, _proxy(layout, kubernetes)),
    ]
    enter = ("nsenter", f"--net={network.NAMESPACE}", "--")
    return [
        Process(LINK, 1, (*link, *map(str, ports.all()))),
        *(Process(each.name, each.priority, (*enter, *each.argv), each.stop_seconds) for each in inside),
    ]


def supervisord(layout: Layout, programs: list[Process], environment: Mapping[str, str]) -> str:
    """Return supervisord's configuration."""
    variables = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(environment.items()))
    sections = [
        f"""[unix_http_server]
file={layout.supervisor_socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisord]
nodaemon=true
user=root
directory={layout.root}
logfile={layout.log("supervisord")}
logfile_maxbytes=10MB
logfile_backups=1
pidfile=/run/supervisord.pid
childlogdir={layout.logs}
environment={variables}
"""
    ]
    sections.extend(
        f"""[program:{program.name}]
command={_escaped(shlex.join(program.argv))}
priority={program.priority}
autorestart=true
startsecs=1
startretries=1000
stopwaitsecs={program.stop_seconds}
stdout_logfile={layout.log(program.name)}
redirect_stderr=true
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=1
"""
        for program in programs
    )
    return "\n".join(sections)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _etcd(layout: Layout) -> tuple[str, ...]:
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return (
        *("etcd", f"--data-dir={layout.root / 'etcd'}", f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
        *(
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--logger=zap",
            "--log-level=warn",
        ),
    )


def _dockerd(layout: Layout) -> tuple[str, ...]:
    # The pid file lies in the namespace's /run: on the host a stale one could name another process.
    return (
        *(
            "dockerd",
            f"--config-file={layout.etc / 'docker.json'}",
            f"--data-root={layout.root / 'docker'}",
            "--exec-root=/run/docker",
            # Otherwise dockerd starts a second containerd, which leaves an /opt/containerd on the host.
            f"--containerd={config.CONTAINERD_SOCKET}",
        ),
        *("--pidfile=/run/docker.pid", f"--host=unix://{layout.docker_socket}", f"--cgroup-parent=/{layout.cgroup}/docker"),
    )


def _apiserver(layout: Layout, ports: Ports, kubernetes: Path) -> tuple[str, ...]:
    pki = layout.pki
    return (
        str(kubernetes / "kube-apiserver"),
        "--etcd-servers=http://127.0.0.1:2379",
        f"--secure-port={ports.api}",
        # All addresses of the namespace; on the host the API is forwarded from 127.0.0.1 only.
        "--bind-address=0.0.0.0",
        f"--advertise-address={network.NODE_ADDRESS}",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP,Hostname",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki}/front-proxy-client.crt",
        f"--proxy-client-key-file={pki}/front-proxy-client.key",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        f"--service-account-issuer=https://kubernetes.default.svc.{network.CLUSTER_DOMAIN}",
        f"--service-cluster-ip-range={network.SERVICE_CIDR}",
        f"--service-node-port-range={network.NODE_PORT_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
    )


def _controller_manager(layout: Layout, kubernetes: Path) -> tuple[str, ...]:
    pki = layout.pki
    return (
        str(kubernetes / "kube-controller-manager"),
        f"--kubeconfig={layout.kubeconfigs}/controller-manager.conf",
        f"--service-account-private-key-file={pki}/sa.key",
        f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--use-service-account-credentials",
        "--allocate-node-cidrs",
        f"--cluster-cidr={network.POD_CIDR}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        # With the default of 20 requests a second it takes 5 s to create its controllers' accounts.
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        f"--flex-volume-plugin-dir={layout.root}/kubelet/volumeplugins",
    )


def _scheduler(layout: Layout, kubernetes: Path) -> tuple[str, ...]:
    return (
        *(str(kubernetes / "kube-scheduler"), f"--kubeconfig={layout.kubeconfigs}/scheduler.conf"),
        *("--leader-elect=false", "--bind-address=127.0.0.1"),
    )


def _kubelet(layout: Layout, kubernetes: Path) -> tuple[str, ...]:
    return (
        *(str(kubernetes / "kubelet"), f"--config={layout.etc}/kubelet.json", f"--kubeconfig={layout.kubeconfigs}/kubelet.conf"),
        *(
            f"--root-dir={layout.root}/kubelet/root",
            f"--hostname-override={network.NODE_NAME}",
            f"--node-ip={network.NODE_ADDRESS}",
        ),
    )


def _proxy(layout: Layout, kubernetes: Path) -> tuple[str, ...]:
    return (
        *(
            str(kubernetes / "kube-proxy"),
            f"--kubeconfig={layout.kubeconfigs}/kube-proxy.conf",
            f"--cluster-cidr={network.POD_CIDR}",
        ),
        *("--proxy-mode=iptables", f"--hostname-override={network.NODE_NAME}", "--conntrack-max-per-core=0"),
    )
