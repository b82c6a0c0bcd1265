"""The authenticator: which tokens are accepted, and that no message repeats what was sent."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.errors import HostRefused, Unauthorized
from kubernaut.server.auth.access import ANONYMOUS, AllowedHosts, Authenticator, Caller, Role, Token, token_digest

CI = "ci-0123456789-abcdefghijklmnopqrstuvwxyz"
ADA = "ada-0123456789-abcdefghijklmnopqrstuvwxyz"
TOKENS = (
    Token(token_digest(CI), Caller("ci", Role.DEPLOY, frozenset(("demo",)))),
    Token(token_digest(ADA), Caller("ada", Role.READ)),
)
HOSTS = AllowedHosts("127.0.0.1", 8080)


@pytest.fixture
def authenticator() -> Authenticator:
    return Authenticator(HOSTS, TOKENS)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_identifies_its_caller(authenticator: Authenticator, scheme: str) -> None:
    assert authenticator.authenticate({"authorization": f"{scheme} {CI}"}) == TOKENS[0].caller
    assert authenticator.authenticate({"authorization": f" {scheme}  {ADA}\t", "accept": "*/*"}) == TOKENS[1].caller


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
def test_malformed_tokens_are_refused_and_not_repeated(authenticator: Authenticator, header: str) -> None:
    with pytest.raises(Unauthorized) as refused:
        authenticator.authenticate({"authorization": header})
    shown = str(refused.value.problem())
    assert CI not in shown
    assert header[:7] + header[7:20] not in shown or len(header) < 8


def test_tokens_in_other_headers_are_ignored(authenticator: Authenticator) -> None:
    for name in ("x-api-key", "cookie", "proxy-authorization", "token", "Authorization"):
        with pytest.raises(Unauthorized, match="Authorization"):
            authenticator.authenticate({name: f"Bearer {CI}"})


@given(st.text(max_size=600))
def test_arbitrary_text_is_unauthorized(text: str) -> None:
    with pytest.raises(Unauthorized):
        Authenticator(HOSTS, TOKENS).authenticate({"authorization": text})


def test_every_token_is_compared_in_constant_time(authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def note(known: bytes, sent: bytes) -> bool:
        compared.append((known, sent))
        return compare(known, sent)

    monkeypatch.setattr(hmac, "compare_digest", note)
    for sent in (CI, ADA):
        compared.clear()
        authenticator.authenticate({"authorization": f"Bearer {sent}"})
        assert compared == [(token.digest, token_digest(sent)) for token in TOKENS]
    compared.clear()
    with pytest.raises(Unauthorized):
        authenticator.authenticate({"authorization": f"Bearer {CI}x"})
    assert len(compared) == len(TOKENS)


def test_without_tokens_callers_are_anonymous_deployers() -> None:
    authenticator = Authenticator(HOSTS, None)
    assert (
        authenticator.authenticate({})
        == authenticator.authenticate({"authorization": "Bearer anything"})
        == ANONYMOUS
        == Caller("anonymous", Role.DEPLOY)
    )


def test_an_empty_list_of_tokens_admits_no_caller() -> None:
    with pytest.raises(Unauthorized):
        Authenticator(HOSTS, ()).authenticate({"authorization": f"Bearer {CI}"})


def test_the_authenticator_checks_hosts(authenticator: Authenticator) -> None:
    authenticator.check_host("127.0.0.1:8080")
    with pytest.raises(HostRefused):
        authenticator.check_host("evil.example.com")


def test_only_the_digest_of_a_token_is_kept(authenticator: Authenticator) -> None:
    assert CI not in repr(vars(authenticator))
    assert CI not in repr(TOKENS)
