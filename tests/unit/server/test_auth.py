"""The gate: who is let in, and that nothing tells what was sent."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.errors import HostRefused, Unauthorized
from kubernaut.server.auth import ANONYMOUS, AllowedHosts, Authenticator, Caller, Role, Token, token_digest

CI = "ci-0123456789-abcdefghijklmnopqrstuvwxyz"
ADA = "ada-0123456789-abcdefghijklmnopqrstuvwxyz"
TOKENS = (
    Token(token_digest(CI), Caller("ci", Role.DEPLOY, frozenset(("demo",)))),
    Token(token_digest(ADA), Caller("ada", Role.READ)),
)
HOSTS = AllowedHosts("127.0.0.1", 8080)


@pytest.fixture
def gate() -> Authenticator:
    return Authenticator(HOSTS, TOKENS)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_tells_who_sends_it(gate: Authenticator, scheme: str) -> None:
    assert gate.authenticate({"authorization": f"{scheme} {CI}"}) == TOKENS[0].caller
    assert gate.authenticate({"authorization": f" {scheme}  {ADA}\t", "accept": "*/*"}) == TOKENS[1].caller


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer{CI}",
        CI,
        f"Basic {CI}",
        f"Bearer {CI} {CI}",
        f"Bearer {CI}, Bearer {CI}",
        f"Bearer {CI},{ADA}",
        f"Bearer {CI}\n",
        f"Bearer {CI}\x00",
        f"Bearer {CI}x",
        f"Bearer {CI[:-1]}",
        f"Bearer {CI.upper()}",
        f"Bearer {CI}ü",
        "Bearer " + "a" * 513,
        "Bearer " + "a" * 100_000,
        f"Bearer {token_digest(CI).hex()}",
    ],
)
def test_everything_else_is_refused_and_not_repeated(gate: Authenticator, header: str) -> None:
    with pytest.raises(Unauthorized) as refused:
        gate.authenticate({"authorization": header})
    told = str(refused.value.problem())
    assert CI not in told
    assert header[:7] + header[7:20] not in told or len(header) < 8


def test_a_token_elsewhere_than_in_its_header_lets_nobody_in(gate: Authenticator) -> None:
    for name in ("x-api-key", "cookie", "proxy-authorization", "token", "Authorization"):
        with pytest.raises(Unauthorized, match="Authorization"):
            gate.authenticate({name: f"Bearer {CI}"})


@given(st.text(max_size=600))
def test_no_other_text_gets_in(text: str) -> None:
    with pytest.raises(Unauthorized):
        Authenticator(HOSTS, TOKENS).authenticate({"authorization": text})


def test_all_tokens_are_compared_whichever_it_is(gate: Authenticator, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def note(known: bytes, sent: bytes) -> bool:
        compared.append((known, sent))
        return compare(known, sent)

    monkeypatch.setattr(hmac, "compare_digest", note)
    for sent in (CI, ADA):
        compared.clear()
        gate.authenticate({"authorization": f"Bearer {sent}"})
        assert compared == [(token.digest, token_digest(sent)) for token in TOKENS]
    compared.clear()
    with pytest.raises(Unauthorized):
        gate.authenticate({"authorization": f"Bearer {CI}x"})
    assert len(compared) == len(TOKENS)


def test_without_tokens_everybody_is_anonymous_and_may_deploy() -> None:
    gate = Authenticator(HOSTS, None)
    assert (
        gate.authenticate({})
        == gate.authenticate({"authorization": "Bearer whatever"})
        == ANONYMOUS
        == Caller("anonymous", Role.DEPLOY)
    )


def test_with_no_token_known_nobody_gets_in() -> None:
    with pytest.raises(Unauthorized):
        Authenticator(HOSTS, ()).authenticate({"authorization": f"Bearer {CI}"})


def test_the_gate_knows_its_hosts(gate: Authenticator) -> None:
    gate.check_host("127.0.0.1:8080")
    with pytest.raises(HostRefused):
        gate.check_host("evil.example.com")


def test_what_is_kept_of_a_token_is_not_the_token(gate: Authenticator) -> None:
    assert CI not in repr(vars(gate))
    assert CI not in repr(TOKENS)
