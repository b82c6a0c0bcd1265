"""The table of Helm's flags is complete, and the ``--set`` family means the same, for both Helms."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.charts import write_chart

from kubernaut.cli.helm_flags import HELM_COMMANDS
from kubernaut.deploy.values.layers import canonical, read_values

pytestmark = pytest.mark.platform

PAGE = Path(__file__).parents[2] / "docs" / "coming-from-helm.md"
_ROW = re.compile(r"^\| (`-[^|]*) \| ([a-z, ]+) \|", re.MULTILINE)
_FLAG = re.compile(r"^\s+(?:-(\w), )?--([\w-]+)", re.MULTILINE)


def table() -> dict[str, set[str]]:
    """The flags in the page, by the command of Helm; ``--wait=hookOnly`` is a value of ``--wait``."""
    found: dict[str, set[str]] = {command: set() for command in HELM_COMMANDS}
    for names, commands in _ROW.findall(PAGE.read_text(encoding="utf-8").partition("## Flags")[2]):
        for command in commands.split(", "):
            found[command] |= {name.partition("=")[0] for name in re.findall(r"`([^`]+)`", names)}
    return found


def flags(program: str, command: str) -> set[str]:
    shown = subprocess.run([program, command, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    pairs = _FLAG.findall(shown.partition("\nFlags:")[2])
    return {f"--{long}" for _, long in pairs} | {f"-{short}" for short, _ in pairs if short}


@pytest.mark.parametrize("command", HELM_COMMANDS)
def test_table_has_the_flags_of_both_helms(helms: Mapping[str, str], command: str) -> None:
    known = set().union(*(flags(program, command) for program in helms.values()))
    assert "--namespace" in known
    assert table()[command] == known


@pytest.mark.parametrize("version", ["helm3", "helm4"])
def test_values_mean_the_same_in_a_dry_run(
    helms: Mapping[str, str], platform: Mapping[str, str], tmp_path: Path, version: str
) -> None:
    template = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {values: {{ .Values | toJson | quote }}}\n"
    )
    chart = write_chart(tmp_path, template=template, values="gone: {a: 1, b: 2}\n")
    (tmp_path / "f").write_text("from, {a} file\n")
    (tmp_path / "v.yaml").write_text("a: 0644\nb: yes\nm: {x: v, y: v}\nl: [1, 2]\n")
    given: dict[str, list[str]] = {
        "literal": ["lit.eral=a\\,b={c}"],
        "file": [f"file={tmp_path}/f,files={{{tmp_path}/f}}"],
        "string": ["s=1,t=true,esc\\.aped/key=x\\,y", "l[1]=string"],
        "": ["n=1,m.x=null,list={1,two},deep[1].er=0,gone.a=null", "s=2"],
        "json": ['j={"k": [1, null]},i=1.5', "s=[]"],
    }
    arguments = [f"--set{'-' if name else ''}{name}={text}" for name, texts in given.items() for text in texts]
    done = subprocess.run(
        [
            helms[version],
            "install",
            "r",
            chart,
            "--dry-run=server",
            "-o",
            "json",
            "-n",
            "default",
            "-f",
            tmp_path / "v.yaml",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PATH": platform["PATH"], "HOME": str(tmp_path), "KUBECONFIG": platform["KUBECONFIG"]},
    )
    release = json.loads(done.stdout[done.stdout.index("{") :])
    sets: dict[str, Any] = {f"{name}_sets" if name else "sets": texts for name, texts in given.items()}
    ours = read_values(values=[tmp_path / "v.yaml"], **sets).merged()
    assert canonical(ours) == canonical(release["config"])
    assert "b" in yaml.safe_load(json.loads(json.dumps(release["manifest"])))["data"]["values"]
