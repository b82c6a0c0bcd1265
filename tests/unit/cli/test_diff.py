"""`kubernaut diff`: its arguments and its output."""

from __future__ import annotations

import json
from collections.abc import Callable

import click
import pytest
from click.testing import Result
from unit.cli.stub import DIGEST, StubKubernaut, difference

from kubernaut.history.detail import Difference

Run = Callable[..., Result]

SHOWN = f"""\
--- demo.hello-world.v2
+++ demo.hello-world.v3
@@ chart @@
-hello-world-1.4.1 {DIGEST}
+hello-world-1.4.2 {DIGEST}
@@ app version @@
+1.4.2
@@ images @@
+r/hello-world@{DIGEST}
@@ values @@
-greeting: "hi"
+greeting: "hello"
-db.password: "***"
+db.password: "***" # changed
+replicas: 2
-old: [1, {{"a": null}}]
--- demo.hello-world.v2/Secret/db
+++ demo.hello-world.v3/Secret/db
@@ -1,3 +1,3 @@
 kind: Secret
 data:
-  password: '***'
+  password: '***' # changed
"""


def test_differences_are_one_unified_diff(run: Run) -> None:
    assert run("diff", "demo.hello-world.v3").stdout == SHOWN


def test_a_diff_on_a_terminal_is_coloured(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.cli.output.uses_colour", lambda _stream: True)
    shown = run("diff", "demo.hello-world.v3", color=True).stdout
    assert click.unstyle(shown) == SHOWN
    assert click.style('+greeting: "hello"', fg="green") in shown
    assert click.style('-greeting: "hi"', fg="red") in shown
    assert "\n--- demo.hello-world.v2/Secret/db\n" in shown
    assert shown.startswith("--- demo.hello-world.v2\n+++ demo.hello-world.v3\n" + click.style("@@ chart @@", fg="cyan"))


def test_the_other_release_and_the_revision_are_passed_on(run: Run, stub: StubKubernaut) -> None:
    run("diff", "hello-world", "-n", "demo", "--revision", "3", "--to", "1")
    assert stub.calls == [("diff", ("hello-world",), {"namespace": "demo", "revision": 3, "to": "1"})]


def test_json_contains_the_whole_difference(run: Run) -> None:
    assert json.loads(run("diff", "demo.hello-world.v3", "-o", "json").stdout) == difference().model_dump(
        mode="json", by_alias=True
    )


def test_equal_releases_print_nothing_on_stdout(run: Run, stub: StubKubernaut) -> None:
    stub.answers["diff"] = Difference(from_="demo.a.v1", to="demo.a.v2")
    result = run("diff", "demo.a.v2")
    assert (result.stdout, result.exit_code) == ("", 0)
    assert "demo.a.v1" in result.stderr
    assert "demo.a.v2" in result.stderr
