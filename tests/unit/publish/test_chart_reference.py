"""Chart references: the one accepted form."""

from __future__ import annotations

import pytest

from kubernaut.errors import BadInput
from kubernaut.publish.version import ChartReference

DIGEST = "sha256:" + "0f" * 32


@pytest.mark.parametrize(
    ("text", "repository", "selector", "name"),
    [
        ("oci://r.example.com/charts/shop:1.4.2", "r.example.com/charts/shop", "1.4.2", "shop"),
        ("oci://localhost:5000/shop:1.0.0-rc.1", "localhost:5000/shop", "1.0.0-rc.1", "shop"),
        ("oci://10.0.0.7:65535/a/b__c/my-shop:1.0.0_build", "10.0.0.7:65535/a/b__c/my-shop", "1.0.0_build", "my-shop"),
        (f"oci://r/shop@{DIGEST}", "r/shop", DIGEST, "shop"),
    ],
)
def test_a_chart_is_named_by_tag_or_by_digest(text: str, repository: str, selector: str, name: str) -> None:
    found = ChartReference.parse(text)
    assert (found.repository, found.tag_or_digest, found.name) == (repository, selector, name)
    assert f"oci://{found}" == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "shop",
        "r/shop:1",
        "./shop",
        "/charts/shop",
        "file:///charts/shop:1",
        "http://r/shop:1",
        "https://r/shop-1.0.0.tgz",
        "OCI://r/shop:1",
        "oci://shop:1",
        "oci:///shop:1",
        "oci://r/shop",
        "oci://r/:1",
        "oci://r//shop:1",
        "oci://r/../shop:1",
        "oci://r/./shop:1",
        "oci://r/%2e%2e/shop:1",
        "oci://user@r/shop:1",
        "oci://user:hunter2@r/shop:1",
        "oci://r:0/shop:1",
        "oci://r:65536/shop:1",
        "oci://r:/shop:1",
        "oci://-r/shop:1",
        "oci://[::1]/shop:1",
        "oci://r/Shop:1",
        "oci://r/shop:1@" + DIGEST,
        "oci://r/shop@sha256:abc",
        "oci://r/shop@sha512:" + "0" * 128,
        "oci://r/shop:-1",
        "oci://r/shop:1\n",
        " oci://r/shop:1",
        "oci://r/shop:1?x=y",
        "oci://r/shop:1#x",
        "oci://r/sho\u00fe:1",
        "oci://r/shop:" + "1" * 129,
        "oci://r/" + "a" * 600 + ":1",
    ],
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        ChartReference.parse(text)
    assert "oci://HOST" in caught.value.hint
    assert "hunter2" not in str(caught.value.problem())
