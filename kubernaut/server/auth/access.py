"""Who may call the server, under which host names, and what each caller may see, change and deploy. Pure.

Tokens are read from the ``Authorization`` header only, and no message repeats what was sent. The files of tokens are read in
``tokens.py``.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from kubernaut.errors import BadInput, ChartRefused, HostRefused, NotAllowed, RequestInvalid, SettingInvalid, Unauthorized
from kubernaut.publish.chart_reference import ChartReference
from kubernaut.settings import is_loopback, parse_registry

MAX_TOKEN_LENGTH = 512

_BEARER = re.compile(rf"bearer +([!-+\--~]{{1,{MAX_TOKEN_LENGTH}}})", re.IGNORECASE)  # a comma would be two joined headers
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS = (80, 443)
"""The ports that a URL, and so the Host header, may leave out."""
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


# callers


class Role(StrEnum):
    """What a token permits; ``deploy`` includes ``read``."""

    READ = "read"
    DEPLOY = "deploy"


@dataclass(frozen=True)
class Caller:
    """The sender of a request.

    Attributes:
        name: The token's name, shown in the history as ``createdBy``.
        role: The token's role.
        namespaces: The token's namespaces; ``None`` for all.
    """

    name: str
    role: Role
    namespaces: frozenset[str] | None = None

    def sees(self, namespace: str) -> bool:
        """Return whether the token covers a namespace."""
        return self.namespaces is None or namespace in self.namespaces

    def require(self, role: Role, namespace: str | None = None) -> None:
        """Check a role, everywhere or in a namespace. Raises: NotAllowed."""
        if role is Role.DEPLOY and self.role is not Role.DEPLOY:
            raise NotAllowed(f"Token {self.name} is read-only.")
        if namespace is not None and not self.sees(namespace):
            raise NotAllowed(f"Token {self.name} does not cover the namespace {namespace}.")


ANONYMOUS = Caller("anonymous", Role.DEPLOY)
"""The caller of a server that asks for no token."""


def require_access(namespace: str, caller: Caller, namespaces: Collection[str], role: Role = Role.READ) -> None:
    """Check that a caller has a role in a namespace, and that the server covers it.

    Args:
        namespace: The namespace.
        caller: The caller.
        namespaces: The server's namespaces; all when empty.
        role: The needed role.

    Raises:
        NotAllowed: The token or the server does not cover the namespace, or the role is missing.
    """
    caller.require(role, namespace)
    if namespaces and namespace not in namespaces:
        raise NotAllowed(
            f"This server does not cover the namespace {namespace}.",
            hint="Ask a server that covers it, or the operator of this one.",
        )


def visible_namespaces(caller: Caller, namespaces: Collection[str]) -> frozenset[str] | None:
    """Return the namespaces that a caller may see on a server with these namespaces; ``None`` for all."""
    if not namespaces:
        return caller.namespaces
    return frozenset(namespaces) if caller.namespaces is None else caller.namespaces & frozenset(namespaces)


# tokens and hosts


@dataclass(frozen=True)
class Token:
    """A known token: the SHA-256 digest of its text, and its caller."""

    digest: bytes
    caller: Caller


def token_digest(token: str) -> bytes:
    """Return the SHA-256 digest of a token's text."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class Authenticator:
    """Identifies callers by their tokens, and checks the host name that they address.

    Args:
        hosts: The host names that the server answers to.
        tokens: The known tokens; ``None`` accepts requests without a token, as :data:`ANONYMOUS`.
    """

    def __init__(self, hosts: AllowedHosts, tokens: Sequence[Token] | None) -> None:
        self._hosts = hosts
        self._tokens = None if tokens is None else tuple(tokens)

    def check_host(self, host: str) -> None:
        """Check a request's ``Host`` header. Raises: HostRefused."""
        self._hosts.check(host)

    def authenticate(self, headers: Mapping[str, str]) -> Caller:
        """Return the caller of a request, from its headers by lower-case name.

        Raises:
            Unauthorized: The token is missing, malformed or unknown.
        """
        if self._tokens is None:
            return ANONYMOUS
        header = headers.get("authorization")
        if header is None:
            raise Unauthorized("The request has no Authorization header.")
        match = _BEARER.fullmatch(header.strip(" \t"))
        if match is None:
            raise Unauthorized("The Authorization header is not `Bearer TOKEN`.")
        sent = token_digest(match[1])
        # Every token is compared, each in constant time, so that the duration reveals nothing about any of them.
        found = [token.caller for token in self._tokens if hmac.compare_digest(token.digest, sent)]
        if not found:
            raise Unauthorized("The token is unknown.")
        return found[0]


@dataclass(frozen=True)
class HostPort:
    """A host name and port; ``None`` as port is the protocol's default in a header, and any port in :class:`AllowedHosts`."""

    name: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> HostPort | None:
        """Parse ``NAME[:PORT]``, ``A.B.C.D[:PORT]`` or ``[V6][:PORT]``; return ``None`` for anything else."""
        match = _HOST.fullmatch(text)
        name = _canonical(match["name"]) if match else None
        if match is None or name is None:
            return None
        port = int(match["port"]) if match["port"] else None
        return None if port is not None and not 0 < port <= 65_535 else cls(name, port)


class AllowedHosts:
    """The host names that the server answers to; others are refused, which stops DNS rebinding by web pages.

    Args:
        host: The address that the server listens on.
        port: The port that it listens on; 0 while it is unknown, which allows any port.
        others: Further names, ``NAME[:PORT]``; without a port any port is allowed.

    Raises:
        SettingInvalid: One of the names is malformed.
    """

    def __init__(self, host: str, port: int, others: Iterable[str] = ()) -> None:
        names = {host.strip("[]").lower(), *(_LOOPBACK_NAMES if is_loopback(host) else ())}
        self._allowed = frozenset((*(HostPort(name, port or None) for name in names), *(_other(text) for text in others)))

    def check(self, host: str) -> None:
        """Check a ``Host`` header. Raises: HostRefused."""
        sent = HostPort.parse(host)
        if sent is None:
            raise HostRefused("The request needs exactly one Host header, NAME[:PORT].")
        ports = (None, sent.port) if sent.port is not None else (None, *_DEFAULT_PORTS)
        if self._allowed.isdisjoint(HostPort(sent.name, port) for port in ports):
            raise HostRefused(f"This server does not answer to {host}.")


def _other(text: str) -> HostPort:
    found = HostPort.parse(text)
    if found is None:
        raise SettingInvalid(f"--allow-host {text!r} is not NAME[:PORT].", hint="Give a name such as kubernaut.example.com.")
    return found


def _canonical(name: str) -> str | None:
    if name.startswith("["):
        try:
            return str(ipaddress.IPv6Address(name[1:-1]))
        except ValueError:
            return None
    return name.lower() if _HOST_NAME.fullmatch(name.lower()) else None


# charts


class ChartPolicy:
    """The registries that charts may come from, each ``HOST[:PORT][/PREFIX]`` with everything below it.

    Helm itself would also take paths, URLs and repository names.

    Raises:
        SettingInvalid: A prefix is not a registry.
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._prefixes = tuple(_prefix(prefix).split("/") for prefix in prefixes)

    def check(self, ref: str) -> str:
        """Return a chart reference that may be deployed.

        Raises:
            RequestInvalid: It is not ``oci://HOST/PATH[:VERSION][@sha256:DIGEST]``.
            ChartRefused: Its registry is not allowed.
        """
        if not ref.startswith("oci://"):
            raise RequestInvalid(
                "The chart is not a reference oci://HOST/PATH:VERSION, and a server reads no files and no chart repositories.",
                hint="Push the chart to a registry, and send that reference.",
            )
        try:
            repository = ChartReference.parse(ref).repository
        except BadInput as error:
            raise RequestInvalid(error.message, hint=error.http_hint, members=error.members) from error
        segments = repository.split("/")
        if not any(segments[: len(prefix)] == prefix for prefix in self._prefixes):
            raise ChartRefused(f"This server does not deploy charts from {repository}.")
        return ref


def _prefix(text: str) -> str:
    try:
        return parse_registry(text)
    except ValueError as error:
        raise SettingInvalid(f"--allow-charts is {text!r}; expected {error}.") from error
