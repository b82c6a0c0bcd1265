"""Texts that are not chart references: the part that is wrong is named, and what to write instead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.in_process_server import COMMAND_LINE
from support.messages import suggested

from kubernaut.errors import BadInput
from kubernaut.publish.chart_reference import parse_chart

HEX = "0f" * 32


def refused(text: str) -> BadInput:
    with pytest.raises(BadInput) as caught:
        parse_chart(text)
    if text.lower().startswith("oci:"):  # a server takes no others
        assert not COMMAND_LINE.search(caught.value.http_hint)
    return caught.value


@pytest.mark.parametrize(
    ("text", "part", "chart"),
    [
        ("OCI://r/web:1", "oci://", "oci://r/web:1"),
        ("oci:r/web:1", "slashes", "oci://r/web:1"),
        ("https:/r/web", "slashes", "https://r/web"),
        ("HTTPS://r/web", "https://", "https://r/web"),
        ("oci://ada:hunter2@r/web:1", "user name", "oci://r/web:1"),
        ("https://ada:hunter2@r/web@1.0.0", "user name", "https://r/web@1.0.0"),
        ("https://r/web@1.0.0?token=hunter2", "query", "https://r/web@1.0.0"),
        ("oci://R.example.com/web:1", "host", "oci://r.example.com/web:1"),
        ("oci://r:/web", "port", "oci://r/web"),
        ("oci://r/Team/Web:1", "upper-case", "oci://r/team/web:1"),
        ("oci://r/web/", "slash", "oci://r/web"),
        ("oci://r//web:1", "slash", "oci://r/web:1"),
        ("https://r/stable/web/", "slash", "https://r/stable/web"),
        ("oci://r/web:", "after `:`", "oci://r/web"),
        ("oci://r/web@", "after `@`", "oci://r/web"),
        ("oci://r/web@1.2.3", "`@` before its version", "oci://r/web:1.2.3"),
        ("https://r/stable/web:1.2.3", "`:` before its version", "https://r/stable/web@1.2.3"),
        (f"oci://r/web@SHA256:{HEX.upper()}", "digest", f"oci://r/web@sha256:{HEX}"),
        (f"oci://r/web@sha256:{HEX}:1.2.3", "after the digest", f"oci://r/web:1.2.3@sha256:{HEX}"),
        ("oci://r/web --version 1.2.3", "blank", "oci://r/web:1.2.3"),
        ("oci://r/web --version=1.2.3", "blank", "oci://r/web:1.2.3"),
        ("https://r/web 1.2.3", "blank", "https://r/web@1.2.3"),
        (" oci://r/web:1", "blank", "oci://r/web:1"),
        ("docker://r/web:1", "docker:", "oci://r/web:1"),
        ("file:///charts/web", "file:", "/charts/web"),
        ("file://localhost/charts/web", "file:", "/charts/web"),
        ("file://./charts/a%20b", "file:", "./charts/a b"),
        ("file:web-1.0.0.tgz", "file:", "web-1.0.0.tgz"),
        ("https://r/stable/web-1.4.2.tgz", "web-1.4.2.tgz", "https://r/stable/web@1.4.2"),
        ("https://r/my-web-1.4.2-rc.1.tgz", "my-web-1.4.2-rc.1.tgz", "https://r/my-web@1.4.2-rc.1"),
    ],
)
def test_the_corrected_reference_is_suggested(text: str, part: str, chart: str) -> None:
    refusal = refused(text)
    assert part in refusal.message
    assert suggested(refusal.hint) == [chart]
    assert chart in refusal.http_hint
    assert "hunter2" not in refusal.hint + str(refusal.problem())


@pytest.mark.parametrize(
    ("text", "part", "form"),
    [
        ("", "empty", "oci://HOST"),
        ("oci://web", "path", "oci://HOST"),
        ("oci://web:1.2.3", "path", "oci://HOST"),
        ("https://r", "chart's name", "https://HOST"),
        ("oci:///web:1", "slashes", "oci://HOST"),
        ("oci://", "host", "oci://HOST"),
        ("oci://[::1]/web:1", "IPv6", "oci://HOST"),
        ("oci://-r/web:1", "host", "oci://HOST"),
        ("oci://r:65536/web", "65535", "oci://HOST"),
        ("oci://r:x/web", "65535", "oci://HOST"),
        ("oci://r/../web", "..", "oci://HOST"),
        ("oci://r/%2e%2e/web", "%", "oci://HOST"),
        ("oci://r/web-:1", "path", "oci://HOST"),
        ("oci://r/web@sha256:abc", "3 characters", "@sha256:DIGEST"),
        ("oci://r/web@sha512:abc", "SHA-256", "@sha256:DIGEST"),
        ("oci://r/web:-1", "version", "oci://HOST"),
        ("oci://r/web:^1.2", "range", "oci://r/web:VERSION"),
        ("https://r/web@~1.2", "range", "https://r/web@VERSION"),
        (f"https://r/web@sha256:{HEX}", "digest", "https://r/web@VERSION"),
        ("oci://r/" + "a" * 600, "512", "oci://HOST"),
        ("s3://bucket/web", "s3:", "oci://HOST"),
        ("git+https://r/web", "git+https:", "Clone"),
        ("https://r/stable/index.yaml", "index.yaml", "https://r/stable/CHART@VERSION"),
        ("https://r/archive/main.tar.gz", "main.tar.gz", "curl -fLO https://r/archive/main.tar.gz"),
        ("we\0b", "null", "oci://HOST"),
    ],
)
def test_the_expected_form_is_named_where_no_correction_is_known(text: str, part: str, form: str) -> None:
    refusal = refused(text)
    assert part in refusal.message
    assert form in refusal.hint
    assert suggested(refusal.hint) == []


SECRETS = st.from_regex(r"[A-Za-z0-9!$&'()*+,;=~^|:@?#/ -]{0,6}hunter2[A-Za-z0-9!$&?#/: -]{0,6}", fullmatch=True)


@given(
    st.sampled_from(["oci", "https", "OCI", "docker", "s3"]),
    SECRETS,
    st.sampled_from(["r.example.com/charts/web", "r/web:1", "R/Web@1"]),
)
def test_a_password_is_never_repeated(scheme: str, secret: str, rest: str) -> None:
    for text in (f"{scheme}://ada:{secret}@{rest}", f"{scheme}://{rest}?token={secret}", f"{scheme}://{rest}#{secret}"):
        refusal = refused(text)
        assert "hunter2" not in refusal.hint + str(refusal.problem())
