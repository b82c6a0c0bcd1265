"""The chart references that may be deployed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.errors import ChartRefused, KubernautError, RequestInvalid, SettingInvalid
from kubernaut.server.auth.access import ChartPolicy

DIGEST = "sha256:" + "0a" * 32
CHARTS = ChartPolicy(["registry.example.com/charts", "127.0.0.1:5000", "ghcr.example.com/team/one-chart"])


@pytest.mark.parametrize(
    "ref",
    [
        "oci://registry.example.com/charts/hello-world:1.4.2",
        f"oci://registry.example.com/charts/hello-world@{DIGEST}",
        "oci://registry.example.com/charts/deep/er/hello_world:1.4.2-dev.3.g31fba06_build",
        "oci://127.0.0.1:5000/anything/below:1.0.0",
        "oci://ghcr.example.com/team/one-chart:latest",
        "oci://ghcr.example.com/team/one-chart",
        "oci://registry.example.com/charts/hello-world:0.1.0+build.5",
        f"oci://registry.example.com/charts/hello-world:1.4.2@{DIGEST}",
    ],
)
def test_charts_of_allowed_registries_pass_unchanged(ref: str) -> None:
    assert CHARTS.check(ref) == ref


@pytest.mark.parametrize(
    "ref",
    [
        "oci://registry.example.com/charts-evil/hello-world:1.4.2",
        "oci://registry.example.com/charts-evil",
        "oci://registry.example.com/chartsevil:1.4.2",
        "oci://registry.example.com/other/charts/hello-world:1.4.2",
        "oci://registry.example.com:5000/charts/hello-world:1.4.2",
        "oci://evil.registry.example.com/charts/hello-world:1.4.2",
        "oci://registry.example.com.evil.example/charts/hello-world:1.4.2",
        "oci://127.0.0.1/charts/hello-world:1.4.2",
        "oci://127.0.0.1:50001/hello-world:1.4.2",
        "oci://127.0.0.1:5001/hello-world:1.4.2",
        "oci://ghcr.example.com/team/one-chart-more:1.0.0",
        "oci://ghcr.example.com/team/one:1.0.0",
        "oci://169.254.169.254/latest/meta-data:1.0.0",
        "oci://2130706433/charts/hello-world:1.0.0",
        "oci://localhost/charts/hello-world:1.0.0",
    ],
)
def test_charts_of_other_registries_are_refused(ref: str) -> None:
    with pytest.raises(ChartRefused) as refused:
        CHARTS.check(ref)
    assert refused.value.hint


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "hello-world",
        "./charts/hello-world",
        "/etc/passwd",
        "../charts",
        "--post-renderer=evil",
        "file:///etc/passwd",
        "http://registry.example.com/charts/hello-world:1.4.2",
        "https://registry.example.com/charts/hello-world-1.4.2.tgz",
        "https://registry.example.com/charts/hello-world@1.4.2",
        "OCI://registry.example.com/charts/hello-world:1.4.2",
        "oci:registry.example.com/charts/hello-world:1.4.2",
        "oci:///charts/hello-world:1.4.2",
        "oci://registry.example.com",
        "oci://registry.example.com:1.4.2",
        f"oci://registry.example.com/charts/hello-world@{DIGEST}:1.4.2",
        "oci://registry.example.com/charts/hello-world@sha256:abc",
        "oci://registry.example.com/charts/hello-world@sha512:" + "0a" * 32,
        "oci://registry.example.com/charts/hello-world@" + DIGEST.upper(),
        "oci://user@registry.example.com/charts/hello-world:1.4.2",
        "oci://user:password@registry.example.com/charts/hello-world:1.4.2",
        "oci://registry.example.com@evil.example/charts/hello-world:1.4.2",
        "oci://Registry.example.com/charts/hello-world:1.4.2",
        "oci://registry.example.com/Charts/hello-world:1.4.2",
        "oci://registry.example.com/charts/../secrets/hello-world:1.4.2",
        "oci://registry.example.com/charts/./hello-world:1.4.2",
        "oci://registry.example.com/charts/%2e%2e/hello-world:1.4.2",
        "oci://registry.example.com/charts//hello-world:1.4.2",
        "oci://registry.example.com/charts/hello-world:1.4.2?x=y",
        "oci://registry.example.com/charts/hello-world:1.4.2#x",
        "oci://registry.example.com/charts/hello-world:1.4.2 --devel",
        "oci://registry.example.com/charts/hello-world:1.4.2\n",
        "oci://registry.example.com\\charts\\hello-world:1.4.2",
        "oci://registry。example.com/charts/hello-world:1.4.2",
        "oci://régistry.example.com/charts/hello-world:1.4.2",
        "oci://registry%2eexample.com/charts/hello-world:1.4.2",
        "oci://[::1]:5000/charts/hello-world:1.4.2",
        "oci://127.0.0.1:05000/charts/hello-world:1.4.2",
        "oci://registry.example.com:/charts/hello-world:1.4.2",
        "oci://registry.example.com./charts/hello-world:1.4.2",
        "oci://registry.example.com/charts/hello-world:-1",
        "oci://registry.example.com/charts/" + "a" * 600 + ":1.4.2",
        "oci://registry.example.com/charts/hello-world:" + "1" * 200,
    ],
)
def test_invalid_references_are_refused_and_not_repeated(ref: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        CHARTS.check(ref)
    assert "password" not in refused.value.message


def test_without_prefixes_every_chart_is_refused() -> None:
    with pytest.raises(ChartRefused):
        ChartPolicy([]).check("oci://registry.example.com/charts/hello-world:1.4.2")


@pytest.mark.parametrize(
    "prefix", ["", "registry.example.com/Charts", "user@registry.example.com", "registry.example.com/../x", "*"]
)
def test_invalid_prefixes_are_refused_at_start(prefix: str) -> None:
    with pytest.raises(SettingInvalid, match="--allow-charts"):
        ChartPolicy([prefix])


@given(st.text(alphabet="oci:/.@-_ar%\\0 ", max_size=60).map(lambda text: f"oci://registry.example.com/charts{text}"))
def test_every_accepted_reference_is_below_an_allowed_prefix(ref: str) -> None:
    try:
        passed = CHARTS.check(ref)
    except KubernautError:
        return
    repository = (
        passed.removeprefix("oci://").partition("@")[0].rpartition(":")[0] or passed.removeprefix("oci://").partition("@")[0]
    )
    assert f"{repository}/".startswith("registry.example.com/charts/")
    assert ".." not in repository
