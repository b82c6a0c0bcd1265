"""The gate: who is let in, and that nothing tells what was sent."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.errors import HostRefused, Unauthorized
from kubernaut.server.auth import authenticator as auth
from kubernaut.server.auth.authenticator import ANONYMOUS, Gate
from kubernaut.server.auth.caller import Caller, Role
from kubernaut.server.auth.hosts import Hosts
from kubernaut.server.auth.tokens import Token, digest

CI = "ci-0123456789-abcdefghijklmnopqrstuvwxyz"
ADA = "ada-0123456789-abcdefghijklmnopqrstuvwxyz"
TOKENS = (
    Token(digest(CI), Caller("ci", Role.DEPLOY, frozenset(("demo",)))),
    Token(digest(ADA), Caller("ada", Role.READ)),
)
HOSTS = Hosts("127.0.0.1", 8080)


@pytest.fixture
def gate() -> Gate:
    return Gate(HOSTS, TOKENS)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_tells_who_sends_it(gate: Gate, scheme: str) -> None:
    assert gate.caller({"authorization": f"{scheme} {CI}"}) == TOKENS[0].caller
    assert gate.caller({"authorization": f" {scheme}  {ADA}\t", "accept": "*/*"}) == TOKENS[1].caller


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
        f"Bearer {digest(CI).hex()}",
    ],
)
def test_everything_else_is_refused_and_not_repeated(gate: Gate, header: str) -> None:
    with pytest.raises(Unauthorized) as refused:
        gate.caller({"authorization": header})
    told = str(refused.value.problem())
    assert CI not in told
    assert header[:7] + header[7:20] not in told or len(header) < 8


def test_a_token_elsewhere_than_in_its_header_lets_nobody_in(gate: Gate) -> None:
    for name in ("x-api-key", "cookie", "proxy-authorization", "token", "Authorization"):
        with pytest.raises(Unauthorized, match="has no header Authorization"):
            gate.caller({name: f"Bearer {CI}"})


@given(st.text(max_size=600))
def test_no_other_text_gets_in(text: str) -> None:
    with pytest.raises(Unauthorized):
        Gate(HOSTS, TOKENS).caller({"authorization": text})


def test_all_tokens_are_compared_whichever_it_is(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def note(known: bytes, sent: bytes) -> bool:
        compared.append((known, sent))
        return compare(known, sent)

    monkeypatch.setattr(auth.hmac, "compare_digest", note)
    for sent in (CI, ADA):
        compared.clear()
        gate.caller({"authorization": f"Bearer {sent}"})
        assert compared == [(token.digest, digest(sent)) for token in TOKENS]
    compared.clear()
    with pytest.raises(Unauthorized, match="The token is not known"):
        gate.caller({"authorization": f"Bearer {CI}x"})
    assert len(compared) == len(TOKENS)


def test_without_tokens_everybody_is_anonymous_and_may_deploy() -> None:
    gate = Gate(HOSTS, None)
    assert gate.caller({}) == gate.caller({"authorization": "Bearer whatever"}) == ANONYMOUS == Caller("anonymous", Role.DEPLOY)


def test_with_no_token_known_nobody_gets_in() -> None:
    with pytest.raises(Unauthorized):
        Gate(HOSTS, ()).caller({"authorization": f"Bearer {CI}"})


def test_the_gate_knows_its_hosts(gate: Gate) -> None:
    gate.check_host("127.0.0.1:8080")
    with pytest.raises(HostRefused):
        gate.check_host("evil.example.com")


def test_what_is_kept_of_a_token_is_not_the_token(gate: Gate) -> None:
    assert CI not in repr(vars(gate))
    assert CI not in repr(TOKENS)
