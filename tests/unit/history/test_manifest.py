"""Manifests are read as Kubernetes reads them, and not at all where it cannot be done.

The expected values are what ``YAMLToJSON`` of sigs.k8s.io/yaml 1.6.0 made of the texts, with go.yaml.in/yaml/v2 2.4.2, and the
division into documents is that of ``NewYAMLOrJSONDecoder`` of k8s.io/apimachinery 0.32.3: both are used by Helm and kubectl.
"""

from __future__ import annotations

import gc
import io
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from support.records import record

from kubernaut.history import manifest as module
from kubernaut.history.manifest import Manifest, manifest_images, manifest_of, pod_selectors, read_manifest, service_ports
from kubernaut.history.releases import describe
from kubernaut.yaml_reader import YamlProblem, parse_documents

WORKLOADS = """
# Source: a
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web, tier: 1}}
  template:
    metadata: {labels: {app: web, tier: 1, more: x}}
    spec:
      initContainers: [{name: i, image: "r/init:1"}]
      containers: [{name: a, image: "r/web:1@sha256:aa"}, {name: b, image: "r/web:1@sha256:aa"}, {name: c}]
---
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: cron}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c, image: r/cron}]}}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec: {template: {metadata: {labels: {job: j}}, spec: {containers: [{name: j, image: r/job}]}}}
---
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Pod, metadata: {name: p, labels: {pod: p}}, spec: {containers: [{image: r/pod}]}}
  - {apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{name: http, port: 80}, {port: 443}]}}
"""
CRD = """---
# Source: prometheus/templates/crd.yaml
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: alertmanagerconfigs.monitoring.coreos.com}
spec:
  versions: [{schema: {openAPIV3Schema: {properties: {matchType: {enum: ["!=", =, "=~", "!~"]}}}}}]
"""
UNREADABLE = "kind: A\n---\nkind: B\nspec: *nowhere\n"


def document(text: str) -> Any:
    """Return the only document of a text that is not empty."""
    found = [content for _, content in parse_documents(text) if content is not None]
    assert len(found) == 1
    return found[0]


def typed(value: Any) -> str:
    """Return a value as JSON, in which 1, 1.0 and true differ."""
    return json.dumps(value, sort_keys=True)


# what the workloads are


def test_images_are_unique_and_in_order() -> None:
    assert manifest_images(read_manifest(WORKLOADS)) == ("r/init:1", "r/web:1@sha256:aa", "r/cron", "r/job", "r/pod")


def test_pod_selectors_of_workloads() -> None:
    assert pod_selectors(read_manifest(WORKLOADS)) == ({"app": "web", "tier": "1"}, {"job": "j"}, {"pod": "p"})


def test_service_ports() -> None:
    ports = service_ports(read_manifest(WORKLOADS))
    assert [(port.service, port.name, port.port) for port in ports] == [("web", "http", 80), ("web", None, 443)]


def test_equals_sign_in_a_crd_hides_nothing_after_it() -> None:
    manifest = read_manifest(CRD + "---" + WORKLOADS)
    assert manifest.problem is None
    assert manifest.objects[0]["kind"] == "CustomResourceDefinition"
    assert len(manifest_images(manifest)) == 5
    assert [port.port for port in service_ports(manifest)] == [80, 443]


@pytest.mark.parametrize("text", ["", "spec: 1", "spec: {containers: 1}", "kind: Service", "spec: {selector: 1}", "items: 1"])
def test_objects_of_unexpected_shape_have_nothing(text: str) -> None:
    manifest = read_manifest(text)
    assert manifest.problem is None
    assert (manifest_images(manifest), pod_selectors(manifest), service_ports(manifest)) == ((), (), ())


# problems


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: [", 1, ""),
        ("kind: A\n---\n# Source: b\n\nkind: B\nspec:\n  b: {\n", 7, ""),
        (UNREADABLE, 4, "alias"),
        ("- 1\n- 2", 1, "object"),
        ("kind: A\n---\ntext", 2, "object"),
        ("kind: List\nitems: [1]", 1, "object"),
        ("a: 1\nb: .nan", 2, ".nan"),
        ("a: 1\nb: -.inf", 2, "-.inf"),
        ("a: 1\n~: 2", 2, "key"),
        ("a: 1\n? [b]\n: 2", 2, "key"),
        ("18446744073709551615: a", 1, "key"),
        ("a: !!int x", 1, "int"),
        ("a: !!bool 1", 1, "bool"),
        ("a: !!binary 'a b'", 1, "base64"),
        ("a: 1\n<<: [1]", 2, "map"),
        ("a: &x [*x]", 1, "itself"),
        ("a: 1\nb: &x {c: *x}", 2, "itself"),
        ("a: 1\n---b: 2", 2, "---"),
        ("a: 1\n\tb: 2", 2, ""),
        ("a: \x07", 1, ""),
        ("a: 1\nb: \ud800", 2, "Unicode"),
        ("a: " + "[" * 200_000, 1, "deep"),
        ("a: " + "[" * 600 + "]" * 600, 1, "deep"),
        ("a: 1\n---\n" + "".join(f"{' ' * depth}a:\n" for depth in range(2000)), 2, "deep"),
        ("- " * 2000, 1, "deep"),
    ],
)
def test_problems_name_the_line_and_leave_no_objects(text: str, line: int, word: str) -> None:
    manifest = read_manifest(text)
    assert manifest.objects == ()
    assert manifest.problem is not None
    assert manifest.problem.startswith(f"line {line}: ")
    assert word in manifest.problem


def test_nested_aliases_are_a_problem() -> None:
    levels = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12))
    manifest = read_manifest(f"a0: &a0 [x]\n{levels}")
    assert manifest.problem is not None
    assert "aliases" in manifest.problem


def test_too_large_manifests_are_a_problem() -> None:
    manifest = read_manifest("# comment\n" * (2 << 20))
    assert manifest.problem is not None
    assert "MiB" in manifest.problem


# documents and lists


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\n---\nb: 2", [{"a": 1}, {"b": 2}]),
        ("---\n# Source: x\na: 1\n---\n# Source: y\n# only\n---\n\n--- # c\nb: 2\n", [{"a": 1}, {"b": 2}]),
        ("--- \r\na: 1\r\n---\r\nb: |\r\n  x\r\n  y\r\n", [{"a": 1}, {"b": "x\ny\n"}]),
        ("\ufeff---\na: 1\n---\nb: 2", [{"a": 1}, {"b": 2}]),
        ("null\n---\n~\n---\na: 1", [{"a": 1}]),
        ("---\n---\n---\n", []),
        ("# only a comment", []),
        ("a: 1\n...\nb: 2\n---\nc: 3", [{"a": 1}, {"c": 3}]),
        ("a: |\n  x\n  ---\n  y\n", [{"a": "x\n---\ny\n"}]),
        ('---\n{"a":1,\n\t"b":"c:d"}\n', [{"a": 1, "b": "c:d"}]),
        ("a:\t1\nb: {\tc: 1}\nd: e\t\n", [{"a": 1, "b": {"c": 1}, "d": "e"}]),
        ("kind: Service\n--- #x\nkind: A", [{"kind": "Service"}, {"kind": "A"}]),
    ],
)
def test_documents_are_divided_as_by_kubernetes(text: str, expected: list[Any]) -> None:
    assert read_manifest(text) == Manifest(tuple(expected))


def test_items_of_a_list_are_objects() -> None:
    several = read_manifest("kind: List\nitems: [{kind: A}, {kind: B}]\n---\nkind: C")
    assert [item["kind"] for item in several.objects] == ["A", "B", "C"]
    (item,) = read_manifest("apiVersion: v1\nkind: ConfigMapList\nitems: [{metadata: {name: a}}]").objects
    assert item == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    assert read_manifest("kind: List\nitems: []").objects == ()


# values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=", "="), ("<<", "<<"), ("'!='", "!="), ("y", True), ("N", False), ("on", True), ("Off", False), ("tRUE", "tRUE"),
        ("~", None), ("", None), ("nULL", "nULL"), ("2001-01-01", "2001-01-01"), ("2024-13-45", "2024-13-45"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"), ("12:30:45", "12:30:45"), ("0644", 420), ("0o14", 12),
        ("08", 8), ("0x1F", 31), ("0b11", 3), ("+1", 1), ("1_000", 1000), ("1e3", 1000), ("1.0", 1), ("-0.0", 0), ("0.1", 0.1),
        ("1e21", 1e21), ("1e20", 1e20), ("9223372036854775807", 2**63 - 1), ("18446744073709551615", float(2**64)),
        ("123456789012345678901234567890", 1.2345678901234568e29), ("1e400", "1e400"), ("!!str 1", "1"), ("!!int '3'", 3),
        ("!!float 1", 1), ("!!bool 'yes'", True), ("!!null ''", None), ("!!binary aGk=", "hi"), ("!!binary /w==", "\ufffd"),
        ("!!timestamp 2001-01-01", "2001-01-01"), ("!custom x", "x"), ("!!seq x", "x"), ("!!set {x}", {"x": None}),
        ("!!omap [a: 1]", [{"a": 1}]), ("&x", None), ("?x", "?x"), ("b#c", "b#c"), ("#b", None), ("'0644'", "0644"), ('"y"', "y"),
        (">-\n  x\n  y", "x y"), ("|2\n    x\n", "  x\n"), ('"a\n  b\\\n  c"', "a bc"), ('"\\x41"', "A"), ("😀", "😀"),
    ],
)  # fmt: skip
def test_scalars_are_resolved_as_by_kubernetes(text: str, expected: Any) -> None:
    assert typed(document(f"a: {text}")) == typed({"a": expected})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", "1"), ("0x10", "16"), ("true", "true"), ("no", "false"), ("y", "true"), ("=", "="), ("'1'", "1"), ("1.5", "1.5"),
        ("1.10", "1.1"), ("1e6", "1e+06"), ("100000.0", "100000"), ("123456789.5", "1.2345679e+08"), ("0.0001", "0.0001"),
        ("0.00001", "1e-05"), ("1e21", "1e+21"), (".inf", ".inf"), ("-.inf", "-.inf"), (".nan", ".nan"),
        ("2001-01-01", "2001-01-01"), ("9223372036854775807", "9223372036854775807"), ("'<<'", "<<"),
    ],
)  # fmt: skip
def test_keys_are_text_as_in_kubernetes(text: str, expected: str) -> None:
    assert document(f"{text}: {{a: b}}") == {expected: {"a": "b"}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2", {"a": 2}),
        ("1: a\n'1': b", {"1": "b"}),
        ("a: {b: 1, b: {c: 2}}", {"a": {"b": {"c": 2}}}),
        ("a: 1\n<<: {a: 2, b: 3}", {"a": 2, "b": 3}),
        ("<<: {a: 2, b: 3}\na: 1", {"a": 1, "b": 3}),
        ("<<: [{a: 1}, {a: 2, b: 3}]", {"a": 1, "b": 3}),
        ("x: &x {b: 1}\nc: {!!merge <<: *x}", {"x": {"b": 1}, "c": {"b": 1}}),
        ("&x a: *x", {"a": "a"}),
    ],
)
def test_later_keys_and_merges_win_as_in_kubernetes(text: str, expected: Any) -> None:
    assert document(text) == expected


WORDS = ["=", "<<", "y", "no", "~", "null", "0644", "1e3", "2001-01-01", ".nan", "---", "...", "- a", "a: b", "#", "!", "&x", "*x"]
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=12) | st.sampled_from(
    [*WORDS, "\n", " a ", "a\nb", "\ta"]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS
NUMBERS = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer())
OBJECTS = st.dictionaries(
    TEXTS,
    st.recursive(SCALARS | NUMBERS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)),
    min_size=1,
    max_size=5,
).filter(lambda item: not isinstance(item.get("items"), list))


class QuotingDumper(yaml.SafeDumper):
    """Quotes all text: ``y`` and ``1e3`` are text to PyYAML, and not to Kubernetes."""


QuotingDumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def quoted(value: Any) -> Any:
    """Return a value for ruamel with all text quoted."""
    if isinstance(value, dict):
        return {quoted(key): quoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [quoted(item) for item in value]
    return DoubleQuotedScalarString(value) if isinstance(value, str) else value


@pytest.mark.parametrize(
    "style",
    [{}, {"default_flow_style": True}, {"canonical": True}, {"indent": 4}, {"allow_unicode": True, "line_break": "\r\n"}],
)
@given(items=st.lists(OBJECTS, min_size=1, max_size=3))
def test_dumped_objects_read_back_equal(style: dict[str, Any], items: list[dict[str, Any]]) -> None:
    documents = [yaml.dump(item, Dumper=QuotingDumper, width=1 << 20, **style).removeprefix("---") for item in items]
    text = "".join(f"---\n# Source: a/{index}.yaml\n{one}\n" for index, one in enumerate(documents))
    manifest = read_manifest(text)
    assert manifest.problem is None
    assert typed(manifest.objects) == typed(items)


@pytest.mark.parametrize("flow", [False, True])
@given(items=st.lists(OBJECTS, min_size=1, max_size=3))
def test_objects_that_ruamel_dumps_read_back_equal(flow: bool, items: list[dict[str, Any]]) -> None:
    writer = YAML()
    writer.default_flow_style, writer.width = flow, 1 << 20
    text = io.StringIO()
    for item in items:
        text.write("---\n")
        writer.dump(quoted(item), text)
        text.write("\n")
    assert typed(read_manifest(text.getvalue()).objects) == typed(items)


@given(items=st.lists(OBJECTS, min_size=1, max_size=3))
def test_json_reads_back_equal(items: list[dict[str, Any]]) -> None:
    text = "".join(f"---\n{json.dumps(item, ensure_ascii=False)}\n" for item in items)
    assert typed(read_manifest(text).objects) == typed(items)


@given(st.text("ab:-[]{}&*!|>'\"#%@ \t\n\r.~=<?,0", max_size=40))
def test_any_text_is_read_or_is_a_problem(text: str) -> None:
    manifest = read_manifest(text)
    assert manifest.problem is None or (manifest.objects == () and manifest.problem.startswith("line "))


# records


def test_record_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counting(text: str) -> Manifest:
        read.append(text)
        return read_manifest(text)

    monkeypatch.setattr(module, "read_manifest", counting)
    one, other = record(1, "deployed", manifest=CRD), record(2, "deployed", manifest=CRD)
    assert manifest_of(one) is manifest_of(one) is manifest_of(other)
    assert read == [CRD]
    del one, other
    gc.collect()
    manifest_of(record(1, "deployed", manifest=CRD))
    assert read == [CRD, CRD]  # nothing is held for good


def test_release_of_an_unreadable_manifest_says_why() -> None:
    broken = record(1, "deployed", manifest=UNREADABLE)
    release = describe(broken, [broken], [])
    assert release.unread is not None
    assert "line 4" in release.unread
    assert release.images == ()
    assert "unread" not in describe(record(1, "deployed"), [], []).model_dump(mode="json", by_alias=True)


def test_documents_before_a_problem_are_yielded_with_their_lines() -> None:
    documents = parse_documents(UNREADABLE)
    assert next(documents) == (1, {"kind": "A"})
    with pytest.raises(YamlProblem, match="alias") as caught:
        next(documents)
    assert caught.value.line == 4
