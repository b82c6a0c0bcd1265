from __future__ import annotations

import configparser
import json
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from kubernaut_local import config
from kubernaut_local.layout import Layout
from kubernaut_local.models import Ports
from kubernaut_local.network import LINK_RESOLVER, render_resolv_conf
from kubernaut_local.processes import processes, supervisord

LAYOUT = Layout(Path("/s"), "blue")
ROOT = "/s/kubernaut/local/blue"
PORTS = Ports(api=16444, registry=15001, node_ports=(30081, 30082))


def test_kubeadm_configuration_names_the_api() -> None:
    cluster, init = yaml.safe_load_all(config.kubeadm(LAYOUT, PORTS))
    assert cluster["controlPlaneEndpoint"] == "127.0.0.1:16444"
    assert cluster["certificatesDir"] == f"{ROOT}/pki"
    assert init["localAPIEndpoint"] == {"advertiseAddress": "10.99.0.100", "bindPort": 16444}


def test_containerd_is_valid_toml() -> None:
    read = tomllib.loads(config.containerd(LAYOUT, PORTS, Path("/p/cni")))
    plugin = read["plugins"]["io.containerd.grpc.v1.cri"]
    assert plugin["sandbox_image"] == "localhost:15001/pause:local"
    assert plugin["cni"] == {"bin_dir": "/p/cni", "conf_dir": f"{ROOT}/etc/cni"}
    assert read["grpc"]["address"] == config.CONTAINERD_SOCKET
    assert plugin["restrict_oom_score_adj"] is True


def test_json_configurations() -> None:
    assert json.loads(config.kubelet(LAYOUT))["cgroupRoot"] == "/kubernaut-blue"
    assert json.loads(config.docker(LAYOUT, PORTS))["registry-mirrors"] == ["http://127.0.0.1:15001"]
    assert json.loads(config.registry(LAYOUT, PORTS))["http"]["addr"] == "0.0.0.0:15001"
    assert [plugin["type"] for plugin in json.loads(config.cni())["plugins"]] == ["ptp", "portmap"]


def test_kubeconfig_is_named_after_the_platform() -> None:
    data = {"certificate-authority-data": "a", "client-certificate-data": "b", "client-key-data": "c"}
    read = json.loads(config.kubeconfig(LAYOUT, PORTS, data))
    assert read["current-context"] == "kubernaut-blue"
    assert read["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:16444"


def read_supervisord() -> configparser.ConfigParser:
    programs = processes(LAYOUT, PORTS, Path("/k"), Path("/venv/bin/python"), Path("/inside/link.py"))
    read = configparser.ConfigParser()
    read.read_string(supervisord(LAYOUT, programs, {"PATH": "/p/bin:/bin", "ODD": "50%"}))
    return read


def test_processes_run_in_the_network_namespace() -> None:
    read = read_supervisord()
    commands = {
        name.partition(":")[2]: shlex.split(read[name]["command"]) for name in read.sections() if name.startswith("program:")
    }
    assert commands.pop("link")[:2] == ["/venv/bin/python", "-I"]
    assert set(commands) == {
        *("etcd", "registry", "containerd", "dockerd", "kube-apiserver"),
        *("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"),
    }
    assert all(command[0] == "nsenter" for command in commands.values())


def test_link_forwards_every_port() -> None:
    assert shlex.split(read_supervisord()["program:link"]["command"])[-4:] == ["16444", "15001", "30081", "30082"]


def test_supervisord_placeholders_are_escaped() -> None:
    assert read_supervisord()["supervisord"]["environment"] == 'ODD="50%",PATH="/p/bin:/bin"'


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("nameserver 10.0.0.1\n", "nameserver 10.0.0.1\n"),
        ("search x.y\nnameserver 127.0.0.53\noptions edns0\n", f"search x.y\nnameserver {LINK_RESOLVER}\noptions edns0\n"),
        ("nameserver 127.0.0.1\nnameserver ::1\n", f"nameserver {LINK_RESOLVER}\n"),
        ("", f"nameserver {LINK_RESOLVER}\n"),
        ("nameserver fe80::1%eth0\n", "nameserver fe80::1%eth0\n"),
    ],
)
def test_loopback_resolver_is_replaced(host: str, inside: str) -> None:
    assert render_resolv_conf(host) == inside
