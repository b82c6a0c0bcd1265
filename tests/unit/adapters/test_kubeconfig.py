"""How `Cluster` reads kubeconfigs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kubernaut.adapters.kube import Cluster
from kubernaut.adapters.kubeconfig import read_kubeconfig
from kubernaut.errors import ClusterUnreachable


def test_first_file_wins_and_paths_are_relative_to_their_file(tmp_path: Path) -> None:
    for name, server in (("one", "https://one"), ("two", "https://two")):
        folder = tmp_path / name
        folder.mkdir()
        content = {
            "current-context": name,
            "clusters": [
                {"name": "same", "cluster": {"server": server, "certificate-authority": "ca.pem"}},
                {"name": name, "cluster": {}},
            ],
            "users": [{"name": name, "user": {"client-certificate": "/abs/cert", "tokenFile": "token"}}],
        }
        (folder / "config").write_text(yaml.safe_dump(content))
    joined = read_kubeconfig(f"{tmp_path}/one/config:{tmp_path}/missing:{tmp_path}/two/config")
    assert joined["current-context"] == "one"
    assert [entry["name"] for entry in joined["clusters"]] == ["same", "one", "two"]
    assert joined["clusters"][0]["cluster"] == {"server": "https://one", "certificate-authority": f"{tmp_path}/one/ca.pem"}
    assert joined["users"][1]["user"] == {"client-certificate": "/abs/cert", "tokenFile": f"{tmp_path}/two/token"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", "line 2"),
        ("- a", "config"),
        ("", "config"),
        ("clusters: 1", "clusters"),
        ("clusters: [1]", "clusters"),
        ("current-context: x", "'x'"),
        ("contexts: []", "context"),
        ("current-context: x\ncontexts: [{name: x, context: {cluster: y}}]", "config"),
        ("current-context: x\ncontexts: [{name: x}]", "config"),
        (
            "current-context: x\ncontexts: [{name: x, context: {cluster: y}}]\nclusters: [{name: y, cluster: {server: 1}}]",
            "config",
        ),
    ],
)
def test_invalid_kubeconfig_is_refused(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "config"
    file.write_text(content)
    with pytest.raises(ClusterUnreachable, match=words) as caught:
        Cluster(str(file)).server()
    assert "kubernaut config" in caught.value.hint
