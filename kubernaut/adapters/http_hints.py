"""What failed and what to do when a registry or a chart repository does not answer, or refuses the credentials. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from kubernaut.adapters.http import Cause, RequestError
from kubernaut.errors import RegistryDenied, RegistryUnreachable

_PHRASES: dict[Cause, str] = {
    "name": "the host name {host} cannot be resolved ({reason})",
    "refused": "{host} refuses the connection ({reason})",
    "unreachable": "{host} cannot be reached ({reason})",
    "timeout": "{host} does not answer in time",
    "proxy": "the proxy before {host} cannot be used ({reason})",
    "no-tls": "{host} does not use TLS",
}
_CHECK = "`curl -v {url}` on this machine shows the same."
_HINTS: dict[Cause, str] = {
    "name": "Check the spelling of {host}, and the name server of this machine: `nslookup {name}`.",
    "refused": f"Check that the server runs, and that its port is {{port}}. {_CHECK}",
    "unreachable": f"Check the network, VPN and firewall between this machine and {{host}}. {_CHECK}",
    "timeout": f"Check the network between this machine and {{host}}; where a proxy is required, set HTTPS_PROXY. {_CHECK}",
    "proxy": "Check HTTPS_PROXY and HTTP_PROXY; `export NO_PROXY={name}` leaves the proxy out for this host.",
    "authority": "If its certificate authority is a private one, name the file with it: `export SSL_CERT_FILE=FILE`.",
    "certificate": "Check that {host} is the name in its certificate, that it has not expired, and the clock of this machine.",
    "no-tls": "If {host} is a server without TLS in a network that you trust: {plain}`export KUBERNAUT_PLAIN_HTTP={host}`.",
    "other": f"Check that the server runs and that this machine reaches it. {_CHECK}",
}
_SERVER = "Check that the kubernaut server reaches {host}, then send the request again."


def unreachable(what: str, url: str, error: RequestError, *, setting: bool = False) -> RegistryUnreachable:
    """Return the error about a request without an answer.

    Args:
        what: What was requested, as words that follow "Cannot read".
        url: The URL that was requested; its path and query are not shown.
        error: The failure of the request.
        setting: Whether the scheme of the URL is from the settings of kubernaut, and the host may be.
    """
    parts = urlsplit(url)
    host, name = parts.netloc.rpartition("@")[2], parts.hostname or ""
    port = str(parts.port or {"http": 80}.get(parts.scheme, 443))
    shown = {"host": host, "name": name, "port": port, "reason": error.reason, "url": f"{parts.scheme}://{host}"}
    shown["plain"] = "" if setting else f"write http://{host} in the reference, and "
    phrase = _PHRASES.get(error.cause, "{host}: {reason}").format(**shown)
    where = " If it is the setting `registry` or `chart_registry`, `kubernaut config` shows where it is set."
    hint = _HINTS[error.cause].format(**shown) + (where if setting and error.cause in ("name", "refused") else "")
    return RegistryUnreachable(f"Cannot read {what}: {phrase}.", hint=hint, http_hint=_SERVER.format(**shown))


def denied(what: str, host: str, status: int, *, stored: bool | None, message: str = "") -> RegistryDenied:
    """Return the error about a host that refuses access.

    Args:
        what: What was requested, as words that follow "Cannot read".
        host: The host, with its port.
        status: The HTTP status.
        stored: Whether credentials for the host are stored; ``None`` if it asked for none.
        message: What the host says, after a colon.
    """
    reason = {
        True: "refuses the stored credentials",
        False: "requires credentials, and none are stored",
        None: "refuses access",
    }[stored]
    login = f"`docker login {host}`"
    hint = f"Log in as a user who may read it, {login}." if stored else f"Log in with {login}."
    missing = "Some servers answer the same for a path that does not exist: check its spelling."
    return RegistryDenied(
        f"Cannot read {what}: {host} {reason} (HTTP {status}){message}.",
        hint=f"{hint} {missing}",
        http_hint=f"Give the kubernaut server credentials for {host} that may read it. {missing}",
    )


def bad_status(what: str, host: str, status: int, message: str = "") -> RegistryUnreachable:
    """Return the error about an HTTP status that is neither a success nor a refusal; the arguments are those of :func:`denied`."""
    if status == 429:
        hint, login = "The host limits requests: wait some minutes.", f" Logged in, `docker login {host}`, it often permits more."
    elif status >= 500:
        hint, login = f"{host} fails: try again in some minutes, or ask its operator.", ""
    else:
        hint, login = f"Check the reference, and that {host} is the right host, with the right port.", ""
    return RegistryUnreachable(f"Cannot read {what}: {host} answers HTTP {status}{message}.", hint=f"{hint}{login}", http_hint=hint)
