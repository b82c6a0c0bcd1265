"""The host names that the server answers to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import facts

from kubernaut.errors import HostRefused, SettingInvalid
from kubernaut.server.auth.access import AllowedHosts, HostPort

LOCAL = AllowedHosts("127.0.0.1", 8080, ("kubernaut.example.com", "ci.example.com:8443"))
PUBLIC = AllowedHosts("10.1.2.3", 8080, ("kubernaut.example.com",))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8080",
        "localhost:8080",
        "LocalHost:8080",
        "[::1]:8080",
        "[0:0::1]:8080",
        "kubernaut.example.com",
        "KUBERNAUT.example.com",
        "kubernaut.example.com:443",
        "ci.example.com:8443",
    ],
)
def test_allowed_host_names_pass(host: str) -> None:
    LOCAL.check(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com:8080",
        "127.0.0.1:8081",
        "127.0.0.1",
        "localhost",
        "127.0.0.2:8080",
        "2130706433:8080",
        "127.1:8080",
        "0.0.0.0:8080",
        "localhost.evil.example.com:8080",
        "evil-kubernaut.example.com",
        "kubernaut.example.com.evil.example",
        "sub.kubernaut.example.com",
        "ci.example.com",
        "ci.example.com:443",
        "[::2]:8080",
        "[::ffff:127.0.0.1]:8080",
    ],
)
def test_other_host_names_are_refused_and_named(host: str) -> None:
    with pytest.raises(HostRefused) as refused:
        LOCAL.check(host)
    assert host in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    "host",
    [
        "",
        " 127.0.0.1:8080",
        "127.0.0.1:8080 ",
        "127.0.0.1:8080, evil.example.com",
        "127.0.0.1:8080,localhost:8080",
        "evil@127.0.0.1:8080",
        "127.0.0.1:8080@evil",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:08080x",
        "127.0.0.1:99999",
        "127.0.0.1:8080:8080",
        "127.0.0.1:\uff18\uff10\uff18\uff10",
        "127.0.0.1:8080/",
        "http://127.0.0.1:8080",
        "localhost.:8080",
        ".localhost:8080",
        "local_host..:8080",
        "[::1:8080",
        "::1:8080",
        "[127.0.0.1]:8080",
        "[::1%25lo]:8080",
        "localhost:8080\x00",
        "localhost%3a8080",
        "a" * 300,
        "<script>",
    ],
)
def test_malformed_host_headers_are_refused_and_not_repeated(host: str) -> None:
    with pytest.raises(HostRefused, match=facts("Host")) as refused:
        LOCAL.check(host)
    assert len(host) < 9 or host not in refused.value.message


def test_localhost_is_refused_on_a_public_address() -> None:
    PUBLIC.check("10.1.2.3:8080")
    PUBLIC.check("kubernaut.example.com")
    for host in ("localhost:8080", "127.0.0.1:8080", "[::1]:8080"):
        with pytest.raises(HostRefused):
            PUBLIC.check(host)


def test_port_80_may_be_omitted() -> None:
    hosts = AllowedHosts("localhost", 80)
    hosts.check("localhost")
    hosts.check("127.0.0.1:80")


def test_port_443_may_be_omitted() -> None:
    AllowedHosts("127.0.0.1", 8080, ("ci.example.com:443",)).check("ci.example.com")


def test_port_0_allows_any_port_of_its_names() -> None:
    hosts = AllowedHosts("127.0.0.1", 0)
    hosts.check("127.0.0.1:43210")
    hosts.check("localhost:1")
    with pytest.raises(HostRefused):
        hosts.check("evil.example.com:43210")


def test_ipv6_addresses_are_bracketed() -> None:
    AllowedHosts("::1", 8080).check("[::1]:8080")


@pytest.mark.parametrize(
    "name", ["", "https://kubernaut.example.com", "a b", "*.example.com", "user@host", "host:0", "host:http", "host/"]
)
def test_invalid_allowed_names_are_refused_at_start(name: str) -> None:
    with pytest.raises(SettingInvalid, match="--allow-host"):
        AllowedHosts("127.0.0.1", 8080, (name,))


@given(st.text(max_size=100))
def test_only_allowed_names_pass(text: str) -> None:
    try:
        LOCAL.check(text)
    except HostRefused:
        return
    address = HostPort.read(text)
    assert address is not None
    known = {HostPort(name, 8080) for name in ("127.0.0.1", "localhost", "::1")} | {HostPort("ci.example.com", 8443)}
    assert address in known or address.name == "kubernaut.example.com"
