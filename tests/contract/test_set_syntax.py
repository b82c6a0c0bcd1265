"""Random arguments of the ``--set`` family, over values and defaults, mean the same as to the real Helm; so do large numbers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from support.charts import write_chart

from kubernaut.adapters.helm import values_input
from kubernaut.deploy.values.large_numbers import as_template_writes
from kubernaut.deploy.values.layers import canonical, read_values
from kubernaut.errors import ValuesInvalid
from kubernaut_local.components import helm3

SHORT = settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEMPLATE = """apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data:
  values: {{ .Values | toJson | quote }}
  numbers: "{{ range .Values.numbers }}{{ . }} {{ end }}"
"""
DEFAULTS = "a: {b: 1, c: [1, {d: 2}], m: {x: 1, z: {k: 2}}}\nb: [{a: 1, b: 2}, x, [1, 2]]\ns: text\n"

KEYS = st.sampled_from(["a", "a", "b", "b", "c", "d", "m", "x", "s", "g", r"a\.b", "x/y", "é", " k ", "0", ""])
# Helm 4 ignores an argument that ends within an index, `a[0`; kubernaut refuses it, as Helm 3 does.
INDEXES = st.sampled_from(["[0]", "[1]", "[2]", "[4]", "[0][1]", "[2][0]", "[1][0][0]", "[-1]", "[x]", "[]"])
SEGMENTS = st.tuples(KEYS, st.lists(INDEXES, max_size=1)).map(lambda parts: parts[0] + "".join(parts[1]))
PATHS = st.lists(SEGMENTS, min_size=1, max_size=3).map(".".join)
TEXTS = st.sampled_from([
    "", "1", "01", "null", "true", "{}", "{a,b}", "{1,null,true}", r"x\,y", "x=y", r"{a\,b,c}", "[", "]", "}", "a{b", "\\", "-5",
    "12345678", "  ", '"q"', "{a", "{a}x", "{{a}}", "{,}", "{a,}", "[1]", "0", "null ", "~", "1.5", "{},", "a\\",
])  # fmt: skip
ARGUMENTS = st.lists(st.tuples(PATHS, TEXTS).map("=".join), min_size=1, max_size=3).map(",".join) | PATHS
ITEMS = st.recursive(
    st.none() | st.integers(-3, 3) | st.booleans() | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c", "x", "m"]), inner, max_size=3),
    max_leaves=6,
)
VALUES = st.fixed_dictionaries({}, optional=dict.fromkeys(("a", "b", "s", "g"), ITEMS))
INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(900_000, 1_100_000), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chart(tmp_path_factory.mktemp("charts"), template=TEMPLATE, values=DEFAULTS)


class AnyHelm:
    """The contract; a subclass provides the program."""

    @pytest.fixture
    def program(self, helms: Mapping[str, str]) -> str:
        raise NotImplementedError

    @SHORT
    @example({}, ["a[0][1]"], "set")
    @example({"a": [[1]]}, ["a[0].b[0]"], "set")
    @example({}, ["a[0][1].b="], "string")
    @example({}, ["a.m=null,b[0].a=null"], "set")
    @given(VALUES, st.lists(ARGUMENTS, min_size=1, max_size=2), st.sampled_from(["set", "string", "json"]))
    def test_arguments_over_values_and_defaults_mean_the_same(
        self, program: str, chart: Path, values: dict[str, Any], arguments: list[str], kind: str
    ) -> None:
        if kind == "json":  # Helm 3 does not know the form `{…}`
            arguments = [argument for argument in arguments if not argument.strip().startswith("{")]
        option = "--set" if kind == "set" else f"--set-{kind}"
        theirs = rendered(program, chart, values, *(f"{option}={argument}" for argument in arguments))
        try:
            name = "sets" if kind == "set" else f"{kind}_sets"
            ours = rendered(program, chart, read_values(values=[values], **{name: arguments}).merged())  # type: ignore[arg-type]
        except ValuesInvalid:
            ours = None
        assert canonical(ours and json.loads(ours["values"])) == canonical(theirs and json.loads(theirs["values"]))
        assert (ours is None) == (theirs is None)

    @SHORT
    @given(INTEGERS)
    def test_large_numbers_are_written_as_expected(self, program: str, chart: Path, numbers: list[int]) -> None:
        passed = rendered(program, chart, {"numbers": numbers})
        by_set = rendered(program, chart, {}, f"--set=numbers={{{','.join(map(str, numbers))}}}")
        assert passed is not None
        assert by_set is not None
        assert passed["numbers"].split() == [as_template_writes(number) for number in numbers]
        assert by_set["numbers"].split() == [str(number) for number in numbers]


@pytest.mark.slow
class TestHelm3(AnyHelm):
    """Helm 3, which needs no platform."""

    @pytest.fixture
    def program(self) -> str:
        return str(helm3())


@pytest.mark.platform
class TestHelm4(AnyHelm):
    """Helm 4."""

    @pytest.fixture
    def program(self, helms: Mapping[str, str]) -> str:
        return helms["helm4"]


def rendered(program: str, chart: Path, values: Mapping[str, Any], *arguments: str) -> Any:
    """Return the data of the rendered object; ``None`` if Helm refuses the arguments."""
    command = [program, "template", "r", str(chart), "--values=-", *arguments]
    done = subprocess.run(command, input=values_input(values), capture_output=True, timeout=60, check=False)
    return yaml.safe_load(done.stdout)["data"] if done.returncode == 0 else None
