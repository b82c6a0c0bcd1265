"""The address of a server that is told a token: that it is one, and that nobody on the way reads what is sent there."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from kubernaut.errors import SettingInvalid
from kubernaut.settings import is_loopback


def checked_address(url: str, plain_http: Callable[[str], bool], *, example: str, server: str = "The server") -> str:
    """Return a server's address without the slash at its end. The message shows nothing of it: it may hold a password.

    Args:
        url: The address.
        plain_http: Says of a host, ``HOST[:PORT]``, whether it may be spoken to without TLS.
        example: What an address looks like.
        server: Whose it is.

    Raises:
        SettingInvalid: The address is none, or what is sent there could be read on the way.
    """
    hint = f"An address is such as {example}."
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises when it is no number
    except ValueError as error:
        raise SettingInvalid(f"{server}'s address is no URL.", hint=hint) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise SettingInvalid(f"{server}'s address needs http:// or https:// and a host, and nothing but a path.", hint=hint)
    if parts.scheme == "http" and not is_loopback(parts.hostname) and not plain_http(parts.netloc):
        raise SettingInvalid(
            f"http://{parts.netloc} would send the token and the values without TLS.",
            hint=f"Use https://, or name the host in `plain_http` (KUBERNAUT_PLAIN_HTTP={parts.netloc}) if the way to it is safe.",
        )
    return url.rstrip("/")
