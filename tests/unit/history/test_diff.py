"""Tests of differences between two releases, and that they never show secrets."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.records import DIGEST, history, made, operation, own, record

from kubernaut.history.detail import Difference, Snapshot, compare, compare_values
from kubernaut.history.records import Record

IMAGE = "r/hello@sha256:{}"


def manifest(*, image: str = "a", held: str = "one", greeting: str = "hello") -> str:
    encoded = base64.b64encode(held.encode()).decode()
    return (
        "---\n# Source: hello/templates/secret.yaml\nkind: Secret\ndata:\n  password: " + encoded + "\n"
        "---\n# Source: hello/templates/config.yaml\nkind: ConfigMap\ndata:\n"
        f"  greeting: {greeting}\n  app.env: |\n    PORT=80\n    DB_PASSWORD={held}\n"
        "---\n# Source: hello/templates/pod.yaml\nkind: Pod\nspec:\n  containers:\n"
        f"  - image: {IMAGE.format(image * 64)}\n"
    )


def side(found: Record, *operations: Any) -> Snapshot:
    return Snapshot(history(found, operations=operations).release(found), found)


def differing(old: str, new: str) -> Difference:
    return compare(side(record(1, "superseded", manifest=old)), side(record(2, "deployed", manifest=new)))


def test_equal_releases_have_an_empty_difference() -> None:
    config = {"greeting": "hello", "password": "hunter22", "list": [1, {"a": None}]}
    old, new = (side(record(n, "deployed", manifest=manifest(), config=config)) for n in (1, 2))
    found = compare(old, new)
    assert found.empty
    assert found == Difference(from_="demo.hello.v1", to="demo.hello.v2")


def test_difference_contains_chart_app_version_and_images() -> None:
    first, second = own(1, "superseded", "op1", manifest=manifest()), own(2, "deployed", "op2", manifest=manifest(image="b"))
    other = "sha256:" + "b" * 64
    found = compare(
        side(first, operation("op1", made=(made(first),))),
        side(second, operation("op2", digest=other, made=(made(second, other),))),
    )
    assert found.chart is not None
    assert (found.chart.from_.digest, found.chart.to.digest) == (DIGEST, other)
    assert found.images is not None
    assert [image.ref for image in found.images.to] == [IMAGE.format("b" * 64)]
    assert found.app_version is None


def test_manifest_is_a_unified_diff_with_one_file_per_object() -> None:
    added = "---\nkind: Job\nmetadata: {name: migrate, namespace: other}\n"
    assert differing(manifest() + added, manifest(greeting="good day") + added.replace("Job", "Pod")).manifest == (
        "--- demo.hello.v1/ConfigMap\n+++ demo.hello.v2/ConfigMap\n@@ -1,7 +1,7 @@\n"
        " # Source: hello/templates/config.yaml\n kind: ConfigMap\n data:\n"
        "-  greeting: hello\n+  greeting: good day\n"
        "   app.env: |\n     PORT=80\n     DB_PASSWORD=***\n"
        "--- demo.hello.v1/Job/other/migrate\n+++ /dev/null\n@@ -1,2 +0,0 @@\n"
        "-kind: Job\n-metadata: {name: migrate, namespace: other}\n"
        "--- /dev/null\n+++ demo.hello.v2/Pod/other/migrate\n@@ -0,0 +1,2 @@\n"
        "+kind: Pod\n+metadata: {name: migrate, namespace: other}\n"
    )


def test_object_order_is_ignored_and_equal_titles_are_numbered() -> None:
    one, two = "---\nkind: A\nmetadata: {name: x}\n", "---\nkind: B\nmetadata: {name: x}\n"
    assert differing(one + two, two + one).empty
    assert "--- demo.hello.v1/A/x (2)\n+++ /dev/null\n" in differing(one + one + two, one + two).manifest


def test_very_long_objects_are_reported_without_a_line_diff() -> None:
    def text(end: str) -> str:
        return "---\nkind: A\ndata:\n" + "".join(f"  a{n}: {n}\n" for n in range(4000)) + f"  end: {end}\n"

    assert differing(text("x"), text("y")).manifest == (
        "--- demo.hello.v1/A\n+++ demo.hello.v2/A\n@@ -1,4003 +1,4003 @@ too long for a line-by-line diff\n"
    )
    assert differing(text("x"), text("x")).empty


def test_changed_secret_shows_as_changed_but_stays_masked() -> None:
    shown = differing(manifest(held="one-of-them"), manifest(held="another-one")).manifest
    assert "-  password: '***'\n+  password: '***' # changed\n" in shown
    assert "-    DB_PASSWORD=***\n+    DB_PASSWORD=*** # changed\n" in shown
    assert "PORT=80 #" not in shown
    assert "one-of-them" not in shown
    assert "another-one" not in shown


def test_new_or_moved_secret_is_not_marked_as_changed() -> None:
    def text(*pairs: str) -> str:
        return "---\nkind: Secret\ndata:\n" + "".join(f"  {pair}\n" for pair in pairs)

    assert "changed" not in differing(text("a: b25l"), text("a: b25l", "b: dHdv")).manifest
    moved = differing(text("a: b25l", "n: dHdv", "m: dHdv"), text("n: dHdv", "m: dHdv", "a: b25l")).manifest
    assert "-  a: '***'\n" in moved
    assert "+  a: '***'\n" in moved


def test_secret_removed_and_added_elsewhere_is_not_marked_as_changed() -> None:
    def text(*lines: str) -> str:
        return "---\nkind: ConfigMap\ndata:\n  env: |\n" + "".join(f"    {line}\n" for line in lines)

    others = [f"A{n}={n}" for n in range(20)]
    shown = differing(text("TOKEN=one-of-them", *others), text(*others, "TOKEN=another-one")).manifest
    assert "\n-    TOKEN=***\n" in shown
    assert "\n+    TOKEN=***\n" in shown


def test_unreadable_document_shows_as_changed() -> None:
    shown = differing("---\nkind: [hunter22\n", "---\nkind: [hunter33\n").manifest
    assert "+# A document that is not YAML is masked whole: *** # changed\n" in shown
    assert "hunter" not in shown


def test_values_are_listed_by_path_as_added_removed_or_changed() -> None:
    old = {"image": {"tag": "1", "a.b": 1}, "gone": True, "list": [1, 2], "same": {"x": 1}, "one": 1}
    new = {"image": {"tag": "2", "a.b": 2}, "new": None, "list": [2], "same": {"x": 1}, "one": True}
    assert [(change.path, change.change, change.from_, change.to) for change in compare_values(old, new)] == [
        ("gone", "removed", True, None),
        ("image.a\\.b", "changed", 1, 2),
        ("image.tag", "changed", "1", "2"),
        ("list", "changed", [1, 2], [2]),
        ("new", "added", None, None),
        ("one", "changed", 1, True),
    ]


def test_changed_secret_values_are_marked_and_new_ones_are_not() -> None:
    old = {"password": "one", "url": "https://ada:one@h", "list": [{"token": "one"}], "gone": {"token": "x"}, "map": {"a": 1}}
    new = {"password": "two", "url": "https://ada:two@h", "list": [{"token": "two"}], "new": {"token": "y"}, "map": {}}
    changes = {change.path: (change.change, change.from_, change.to) for change in compare_values(old, new)}
    assert changes == {
        "password": ("changed", "***", "*** (changed)"),
        "url": ("changed", "https://***@h", "https://*** (changed)@h"),
        "list": ("changed", [{"token": "***"}], [{"token": "*** (changed)"}]),
        "gone.token": ("removed", "***", None),
        "new.token": ("added", None, "***"),
        "map.a": ("removed", 1, None),
        "map": ("added", None, {}),
    }


def test_json_uses_the_field_names_of_the_api() -> None:
    found = differing(manifest(), manifest(image="b")).model_dump(mode="json", by_alias=True)
    assert list(found) == ["from", "to", "chart", "appVersion", "images", "values", "manifest"]
    assert list(found["images"]) == ["from", "to"]
    assert Difference.model_validate(found).to == "demo.hello.v2"


CANARIES = st.text(min_size=6, max_size=30).map(lambda text: f"⟦{text}⟧")


@given(st.lists(CANARIES, min_size=2, max_size=2))
def test_difference_never_contains_a_secret_of_either_side(canaries: list[str]) -> None:
    sides = [
        side(
            record(n, "deployed", config={"password": canary}, manifest=json.dumps({"kind": "Secret", "stringData": {"a": canary}}))
        )
        for n, canary in enumerate(canaries, 1)
    ]
    found = compare(*sides)
    shown = found.model_dump_json(by_alias=True)
    assert not any(canary in shown or json.dumps(canary)[1:-1] in shown for canary in canaries)
    assert found.empty == (canaries[0] == canaries[1])
    assert bool(found.manifest) == bool(found.values) == (canaries[0] != canaries[1])
