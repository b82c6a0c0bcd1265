"""The gate: who sends a request, by its token, and whether it is addressed to this server. Pure.

A token is taken from the header ``Authorization`` only. No message says what was sent.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence

from kubernaut.errors import Unauthorized
from kubernaut.server.auth.caller import Caller, Role
from kubernaut.server.auth.hosts import Hosts
from kubernaut.server.auth.tokens import LONGEST, Token, digest

ANONYMOUS = Caller("anonymous", Role.DEPLOY)
"""Whoever sends a request to a server that asks for no token."""

_BEARER = re.compile(rf"bearer +([!-+\--~]{{1,{LONGEST}}})", re.IGNORECASE)  # a comma would be two headers that were joined


class Gate:
    """Lets callers in.

    Args:
        hosts: The names that the server answers to.
        tokens: The tokens that it knows; ``None`` lets everybody in.
    """

    def __init__(self, hosts: Hosts, tokens: Sequence[Token] | None) -> None:
        self._hosts = hosts
        self._tokens = None if tokens is None else tuple(tokens)

    def check_host(self, host: str) -> None:
        """Check a request's header ``Host``. Raises: HostRefused."""
        self._hosts.check(host)

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Return who sends a request.

        Args:
            headers: The request's, by their names in lower case.

        Raises:
            Unauthorized: There is no token, or one that is not known.
        """
        if self._tokens is None:
            return ANONYMOUS
        header = headers.get("authorization")
        if header is None:
            raise Unauthorized("The request has no header Authorization.")
        match = _BEARER.fullmatch(header.strip(" \t"))
        if match is None:
            raise Unauthorized("The header Authorization is not one `Bearer TOKEN`.")
        return self._known(self._tokens, digest(match[1]))

    @staticmethod
    def _known(tokens: Sequence[Token], sent: bytes) -> Caller:
        # All of them are compared, each in constant time: how long it takes tells nothing of any.
        found = [token.caller for token in tokens if hmac.compare_digest(token.digest, sent)]
        if not found:
            raise Unauthorized("The token is not known.")
        return found[0]
