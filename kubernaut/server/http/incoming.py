"""What a WSGI server hands over, as the door understands it: the request's id, its headers, its path. Pure.

A path is taken apart before it is decoded, so that an encoded slash or a dot segment never leads to another route.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from kubernaut.errors import NotAllowed, RequestMalformed, RouteNotFound

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")
_LONGEST_SHOWN = 200


def request_id(offered: str | None) -> str:
    """Return the id that the client gave its request, if it can be one; a new one otherwise."""
    if offered and _REQUEST_ID.fullmatch(offered):
        return offered
    return secrets.token_hex(8)


def headers_of(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of a request, by their names in lower case."""
    found = {key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_")}
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            found[key.replace("_", "-").lower()] = environ[key]
    return found


def raw_path(environ: Mapping[str, Any]) -> str:
    """Return the path as it was sent, percent-encoded; without the query."""
    target = environ.get("REQUEST_URI") or quote(environ.get("PATH_INFO", "").encode("latin-1"))
    path = _ABSOLUTE.sub("", target, count=1).partition("#")[0].partition("?")[0]
    return quote(path.encode("latin-1", "replace"), safe="/%:@!$&'()*+,;=~")


def checked_path(raw: str) -> str:
    """Return a path decoded.

    Raises:
        RequestMalformed: It does not begin with a slash.
        RouteNotFound: A part of it is empty, a dot segment, or decodes to something that no part of a path can be.
    """
    if not raw.startswith("/"):
        raise RequestMalformed("The request's target is no path.", hint="Send a path such as /api/releases.")
    if raw == "/":
        return raw
    return "/" + "/".join(_part(part, raw) for part in raw[1:].split("/"))


def nothing_at(raw: str, why: str = "") -> RouteNotFound:
    """Return the failure for a path that no route has."""
    shown = raw if len(raw) <= _LONGEST_SHOWN else f"{raw[:_LONGEST_SHOWN]}…"
    return RouteNotFound(f"There is nothing at {shown}{': ' if why else '.'}{why}")


def check_site(method: str, headers: Mapping[str, str]) -> None:
    """Check that no page of another site makes a browser send a write.

    A browser says where a request comes from in ``Sec-Fetch-Site``, an older one in ``Origin``; programs send neither.

    Raises:
        NotAllowed: A page of another site sends it.
    """
    if method in {"GET", "HEAD"}:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    foreign = site not in {"same-origin", "none"} if site else bool(origin) and _authority(origin or "") != headers.get("host")
    if foreign:
        raise NotAllowed(
            "The request comes from a page of another site.", hint="Send writes from a program, not from a page in a browser."
        )


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _part(part: str, raw: str) -> str:
    try:
        text = unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise nothing_at(raw, "it is not UTF-8.") from None
    if text in {"", ".", ".."} or "/" in text or "\\" in text or not text.isprintable():
        raise nothing_at(raw)
    return text
