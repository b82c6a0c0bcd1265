"""YAML, ``--set`` and values on standard input mean the same as to the real Helm. Needs no cluster."""

from __future__ import annotations

import json
import math
import os
import shutil
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.charts import write_chart

from kubernaut._yaml_nodes import resolve_plain
from kubernaut.adapters.helm import Helm
from kubernaut.deploy.values.layers import canonical, read_values
from kubernaut.deploy.values.set_arguments import merge, set_typed
from kubernaut.errors import ValuesInvalid
from kubernaut.yaml_reader import parse_yaml

pytestmark = pytest.mark.slow

SLOW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
TEMPLATE = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  values: {{ .Values | toJson | quote }}\n"
)
WORDS = [
    "0644", "0o14", "0x1F", "0b101", "1_000", "1e3", "1E5", "1.5e3", ".5", "5.", "+1", "-1", "yes", "no", "on", "off", "y",
    "n", "Y", "N", "Yes", "YES", "true", "True", "TRUE", "tRUE", "~", "null", "Null", "nULL", "2001-01-01",
    "2001-12-14t21:59:43.10-05:00", "12:30:45", "1:20", "190:20:30", "12345678901234567890",
    "123456789012345678901234567890", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
    "-9223372036854775809", "18446744073709551615", "18446744073709551616", "0.1", "1.0", "1e400", "08", "09", "0o8", "0o",
    "0x", "0b", "0b2", "1__0", "_1", "-0", "+0", "00", "000", "1.2.3", "=", "<<", ".inf-", "1e-3", "1.e3", "0.0", "-0.0",
    "1e21", "1e20", "0777L", "1,000", "-0644", "-0x1F", "+0x1F", "-0b1", "+12", "+0.5", "1e+3", ".1e3", ".e3", "e3", "1e",
    "inf", "nan", "none", "None", "-", "+", ".", "..", "1.", "-.", "+.5", "1.5.5", "0.1e", "0_1", "0x_1", "1_", "--1",
    "+-1", "1e5_0", ".5_0", "1_0.5", "0b1_1", "0x1_F", "0644_4", "v1.2", "1.0-rc.1", "a-b",
]  # fmt: skip


def program() -> str:
    beside = Path(sys.executable).with_name("helm")
    found = str(beside) if beside.exists() else shutil.which("helm")
    if found is None:
        pytest.skip("needs helm")
    return found


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chart(tmp_path_factory.mktemp("charts"), template=TEMPLATE, values="")


@pytest.fixture(scope="module")
def helm() -> Helm:
    return Helm(program(), environment=dict(os.environ), plain_http=lambda _: False)


def rendered(manifest: str) -> Any:
    return json.loads(yaml.safe_load(manifest)["data"]["values"])


def real(chart: Path, *arguments: str, input: str = "") -> Any:
    """Return the values as the real Helm parses them; ``None`` where it refuses them."""
    done = subprocess.run(
        [program(), "template", "r", chart, *arguments], input=input.encode(), capture_output=True, timeout=60, check=False
    )
    return rendered(done.stdout.decode()) if done.returncode == 0 else None


def without_nulls(value: Any) -> Any:
    """Helm takes ``null`` to remove a chart's value, and does not show it to the templates."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def same(ours: Any, theirs: Any) -> bool:
    return canonical(without_nulls(ours)) == canonical(without_nulls(theirs))


def test_yaml_scalars_mean_the_same(chart: Path) -> None:
    text = "\n".join(f"k{index}: {word}" for index, word in enumerate(WORDS) if word not in ("-", "<<"))
    theirs = real(chart, "--values", "-", input=text)
    ours = parse_yaml(text, "words")
    assert {key: (value, theirs.get(key)) for key, value in ours.items() if not same({"k": value}, {"k": theirs.get(key)})} == {}


@SLOW
@given(st.lists(st.text(string.digits + "+-._eExXoObBaAfFnNyYtTrR:", min_size=1, max_size=8), min_size=60, max_size=60))
def test_random_yaml_scalars_mean_the_same(chart: Path, words: list[str]) -> None:
    usable = [word for word in words if not word.endswith(":") and word not in ("-",) and _finite(resolve_plain(word))]
    text = "\n".join(f"k{index}: {word}" for index, word in enumerate(usable))
    assert same(parse_yaml(text, "words"), real(chart, "--values", "-", input=text)), usable


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}\nf: {<<: [*x, {b: 9, g: 3}], h: 1}\n",
        "a: !!str 1\nb: !!int '3'\nc: !!float 1\nd: !custom x\ne: !!binary aGk=\nf: '0644'\ng: \"yes\"\n",
        "1: a\ntrue: b\n0x10: c\n1.5: d\nno: e\n",
        "a: [=, '!=']\n=: b\n1e6: c\n123456789.5: d\n",
        "a: {b: 1, <<: {b: 2, c: 3}}\nd: {<<: {b: 2, c: 3}, b: 1}\n",
        "a: |\n  x\n  y\nb: >\n  x\n  y\nc: [1, 'two', [3]]\nd: {}\ne: []\n",
        "a:\nb: ~\nc: ''\n",
        "é: ü\n日本: 😀\n",
        "",
        "# nothing\n",
        "--- \na: 1\n",
    ],
)
def test_documents_mean_the_same(chart: Path, text: str) -> None:
    assert same(parse_yaml(text, "text"), real(chart, "--values", "-", input=text))


@pytest.mark.parametrize("text", ["a: [", "a: .inf", "a: .nan", "- a", "text", "a: b: c", "\ta: 1", "a: {<<: 1}", "? [a]\n: 1"])
def test_invalid_yaml_is_refused_as_by_helm(chart: Path, text: str) -> None:
    assert real(chart, "--values", "-", input=text) is None
    with pytest.raises(ValuesInvalid):
        parse_yaml(text, "text")


SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.dictionaries(
    st.text(max_size=20),
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)),
    max_size=8,
)


@SLOW
@example({"a": "😀\u2028\x7f\x85\ufeff\ufffe\x00", "<<": {"b": 1}, "": "empty", "yes": "yes", "1": 1.0, "é": -0.0})
@given(VALUES)
def test_values_reach_the_template_unchanged(chart: Path, helm: Helm, values: dict[str, Any]) -> None:
    for reserved in ("global",):
        values.pop(reserved, None)
    arrived = rendered(helm.template(chart, name="r", namespace="ns", values=values))
    assert same(values, arrived)


SETS = [
    "a=1", "a=true,b=FALSE,c=null,d=0,e=01,f=-5,g=+5,h=1.5", "a.b.c=d", "a[0]=x,a[2]=y", "a={x,y,1}", "a={}", "a={x,}",
    "a=b\\,c", "a\\.b=c", "a.b[1].c=d", "a[0][1]=x", "a=", "a.b=", "a", "a,b=1", "a=1,", "a=1,b", ".a=1", "a..b=1", "a.=1",
    "=1", "a[=1", "a[x]=1", "a[-1]=1", "a[0]x=1", "a[0]", "a[0].b=", "a={x", "a={x}y", "a={x},b=1", "a=9223372036854775808",
    "a=-9223372036854775808", "a= 1", " a=1", "a=b=c", "a[0].b=1,a[0].c=2", "a[1].b=1,a[0].c=2", "a.b=1,a[0]=1",
    "a=1,a.b=2", "a=1,a[0]=2", "a\\", "a=\\", "a=null,a.b=1", "a[99999]=1", "a=TRUE", "a=0x10", "a=1_000", "é=ü",
    "a[0]={x,y}", "a={{x}}", "a.b=c,a.d=e", "a[+1]=x", "a[01]=x", "a[ 1]=x",
]  # fmt: skip


def ours_of_set(*sets: str) -> Any:
    values: dict[str, Any] = {}
    try:
        for text in sets:
            set_typed(text, values)
    except ValuesInvalid:
        return None
    return values


@pytest.mark.parametrize("text", SETS)
def test_set_means_the_same(chart: Path, text: str) -> None:
    assert same({"v": ours_of_set(text)}, {"v": real(chart, f"--set={text}")})


@SLOW
@given(st.text("ab.[]{}=,\\01 -", max_size=12))
def test_random_sets_mean_the_same(chart: Path, text: str) -> None:
    assert same({"v": ours_of_set(text)}, {"v": real(chart, f"--set={text}")})


@pytest.mark.parametrize(
    "sets", [("a.b=1", "a.c=2"), ("a[0]=x", "a[1]=y"), ("a={x,y}", "a[1]=z"), ("a=1", "a=2"), ("a.b=1", "a=2")]
)
def test_repeated_sets_mean_the_same(chart: Path, sets: tuple[str, ...]) -> None:
    assert same({"v": ours_of_set(*sets)}, {"v": real(chart, *(f"--set={text}" for text in sets))})


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "under.yaml", tmp_path / "over.yaml"


@SLOW
@given(VALUES, VALUES)
def test_files_are_merged_as_by_helm(chart: Path, files: tuple[Path, Path], under: dict[str, Any], over: dict[str, Any]) -> None:
    from kubernaut.adapters.helm import values_input

    for path, values in zip(files, (under, over), strict=True):
        values.pop("global", None)
        path.write_bytes(values_input(values))
    assert same(merge(under, over), real(chart, f"--values={files[0]}", f"--values={files[1]}"))


# the rest of the --set family

JSON_SETS = [
    'a={"b": [1, null, "x,y"]},c=2', "a=true , b=1", "a=", "a=,b=1", "a[1].b=[]", "a[0]=", "a=1e3", "a=01", "a=1.", "a=1e", "a=x",
    'a="\\u00e9"', "a.b.c={}", "a=[1", "a=1.5.5", "a=1-", "a=-", "a=-0", "a=nullx", "a=1 2", "a\\.b=1", "a[0][1]=1", "=1", "a",
    'a={"x":1},a.y=2', "a=1,a.b=2", "a=[1],a[1]=2", "a=\u00a0 1",
]  # fmt: skip
STRING_SETS = ["a=1,b=true,c=null", "a={1,x}", "a.b=0", "a[0]=1,a[2]=2", "a=", "a={", "a=1\\,2", "a={}", "a=0x10,b=1.5"]
LITERAL_SETS = [
    "a=1", "a={x,y}", "a=b\\,c,d=e", "a.b=\\", "a=", "a.b=", "a[0]=", "a[0].b=", "a[1][0]=x", "a\\.b=1", "a,b=c", "=1", "a",
    "a=b=c", "a= {", "a.b.c=[0]", "a[x]=1", "é=ü, ß",
]  # fmt: skip


@pytest.mark.parametrize("text", JSON_SETS)
def test_set_json_means_the_same(chart: Path, text: str) -> None:
    assert same({"v": ours(json_sets=[text])}, {"v": real(chart, f"--set-json={text}")})


@pytest.mark.parametrize("text", STRING_SETS)
def test_set_string_means_the_same(chart: Path, text: str) -> None:
    assert same({"v": ours(string_sets=[text])}, {"v": real(chart, f"--set-string={text}")})


@pytest.mark.parametrize("text", LITERAL_SETS)
def test_set_literal_means_the_same(chart: Path, text: str) -> None:
    assert same({"v": ours(literal_sets=[text])}, {"v": real(chart, f"--set-literal={text}")})


@SLOW
@given(st.text('ab.[]{}=,\\01 -"e', max_size=12))
def test_random_arguments_mean_the_same(chart: Path, text: str) -> None:
    for name in ("json", "string", "literal"):
        if name == "json" and text.strip().startswith("{"):  # the form of Helm 4
            continue
        assert same({"v": ours(**{f"{name}_sets": [text]})}, {"v": real(chart, f"--set-{name}={text}")}), name


@SLOW
@given(st.lists(st.text('ab,{}\\= \n"é', max_size=8), min_size=3, max_size=3))
def test_files_mean_the_same(chart: Path, tmp_path_factory: pytest.TempPathFactory, contents: list[str]) -> None:
    folder = tmp_path_factory.mktemp("files")
    for number, content in enumerate(contents):
        (folder / str(number)).write_text(content, newline="")
    text = f"a={folder}/0,b.c={{{folder}/1,{folder}/2}},d[1]={folder}/2"
    assert same(ours(file_sets=[text]), real(chart, f"--set-file={text}"))


def test_precedence_is_that_of_helm(chart: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("file")
    (tmp_path / "v.yaml").write_text("{a: v, b: v, c: v, d: v, e: v, f: v, m: {x: v, y: v}, l: [v, v]}")
    given: dict[str, list[str]] = {
        "literal": ["f=literal"],
        "file": [f"e={tmp_path}/f,f={tmp_path}/f"],
        "string": ["d=1,e=1,f=1,l[1]=string"],
        "set": ["c=2,d=2,e=2,f=2,m.x=null,l[0]=set"],
        "json": ['b="j",c="j",d="j",e="j",f="j",m={"z":1}'],
    }
    arguments = [f"--set{'' if name == 'set' else f'-{name}'}={text}" for name, texts in given.items() for text in texts]
    sets = {"sets" if name == "set" else f"{name}_sets": texts for name, texts in given.items()}
    assert same(ours(values=[tmp_path / "v.yaml"], **sets), real(chart, *arguments, "--values", str(tmp_path / "v.yaml")))


def ours(**arguments: Any) -> Any:
    try:
        return read_values(**arguments).merged()
    except ValuesInvalid:
        return None
