"""What is wrong with a text that is not a chart reference, and what to write instead. Pure.

A message names the part that is wrong and the form that is expected, and repeats nothing of the text, which may hold a password. A
reference in a hint has no user name and no query, and is valid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import unquote

from kubernaut.errors import BadInput
from kubernaut.publish.chart_versions import Hints, use_chart

MAX_REFERENCE = 512
"""The most characters of a reference."""
PACKAGE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*?)-(?P<version>v?[0-9]+\.[0-9]+\.[0-9]+.*)\.(?:tgz|tar\.gz)")
"""The name of a package's file, as Helm writes it."""
Accepts = Callable[[str], bool]
"""Whether a text is a valid reference."""

_OCI_FORM = "Use oci://HOST[:PORT]/PATH, with :VERSION, @sha256:DIGEST or both after it."
_HTTP_FORM = (
    "Use https://HOST[:PORT]/PATH/CHART@VERSION for CHART of the repository https://HOST[:PORT]/PATH, as in `helm repo add`."
)
_FORMS = "Use oci://HOST/PATH:VERSION, https://HOST/PATH/CHART@VERSION, a folder with Chart.yaml, or a .tgz file."
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<slashes>/*)")
_HOST = re.compile(r"[a-z0-9]+(?:(?:\.|-+)[a-z0-9]+)*")
_PORT = re.compile(r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]")
_RANGE = re.compile(r"[\^~<>=!*|,]")
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FLAG = re.compile(r"\s+(?:--version[\s=]+)?(?P<version>\S+)$")


@dataclass(frozen=True)
class _Parts:
    """The parts of a text, each as it is written; ``None`` for one that is absent."""

    scheme: str
    slashes: str
    user: str | None
    host: str
    port: str | None
    path: str
    version: str | None
    digest: str | None
    query: str | None
    flag: bool

    @property
    def is_oci(self) -> bool:
        return self.scheme.lower() in ("oci", "docker")

    @property
    def has_digest(self) -> bool:
        """Whether a digest follows the ``@``, and not a version."""
        return (self.digest or "").lower().startswith("sha256:")

    @property
    def asked(self) -> str:
        """The version, whichever separator is before it."""
        return (self.version if self.digest is None or self.has_digest else self.digest) or ""


def refuse_reference(text: str, accepts: Accepts) -> BadInput:
    """Return the error about a text that is not a chart reference.

    Args:
        text: The text.
        accepts: Returns whether a text is a valid reference, so that a hint names no other.
    """
    if not text:
        return BadInput("The chart reference is empty; is it a variable that is not set?", hint=_FORMS)
    if "\0" in text:
        return BadInput("The chart reference contains a null character.", hint=_FORMS)
    if len(text) > MAX_REFERENCE:
        return BadInput(f"The chart reference is longer than {MAX_REFERENCE} characters.", hint=_FORMS)
    parts = _split(text)
    scheme = parts.scheme.lower()
    if scheme == "file":
        return _file_url(text.strip().partition(":")[2])
    if scheme == "docker":
        return BadInput("The chart reference begins with docker:, and charts of a registry with oci://.", **_hints(text, accepts))
    if scheme not in ("oci", "http", "https"):
        return _other_scheme(scheme)
    if text != text.strip():
        problem = "begins or ends with a blank"
    else:
        problem = next(_oci_problems(parts) if parts.is_oci else _http_problems(parts))
    return BadInput(f"The chart reference {problem}.", **_hints(text, accepts))


def refuse_file(repository: str, name: str, accepts: Accepts) -> BadInput:
    """Return the error about a URL that names a file of a chart repository instead of a chart."""
    url, message = f"{repository}/{name}", f"The chart reference names the file {name}, not a chart."
    if not name.endswith((".tgz", ".tar.gz")):
        return BadInput(message, hint=f"Write the chart's name instead of the file: {repository}/CHART@VERSION.")
    download = f"Download the package, `curl -fLO {url}`, and name the file, {name}."
    package = PACKAGE.fullmatch(name)
    if package is None or not accepts(chart := f"{repository}/{package['name']}@{package['version']}"):
        return BadInput(message, hint=download)
    return BadInput(message, **use_chart(chart, after=f"Where the repository has no index: {download[0].lower()}{download[1:]}"))


def _other_scheme(scheme: str) -> BadInput:
    what = f"begins with {scheme}:; charts have oci:// or https://, and paths no scheme" if len(scheme) > 1 else "has another form"
    clone = "Clone the repository, and name the chart's folder. " if "git" in scheme or scheme == "ssh" else ""
    return BadInput(f"The chart reference {what}.", hint=f"{clone}{_FORMS}")


def _file_url(rest: str) -> BadInput:
    """Return the error about a ``file:`` URL, with the path that it names."""
    path = unquote(re.sub("^//(?:localhost(?=/))?", "", rest))
    if not path or "\0" in path:
        return BadInput("The chart reference is a file: URL without a path.", hint=_FORMS)
    return BadInput("The chart reference is a file: URL; a folder or a package is named by its path.", **use_chart(path))


def _hints(text: str, accepts: Accepts) -> Hints:
    """Return the hints to write the reference correctly where that is known, else its form."""
    parts = _split(text)
    login = "" if parts.user is None else f"Credentials are those of `docker login {parts.host.lower()}`."
    is_open = bool(_RANGE.search(parts.asked)) or (parts.has_digest and not parts.is_oci)
    repaired = _repaired(replace(parts, version=None, digest=None) if is_open else parts)
    if not accepts(repaired):
        form = _OCI_FORM if parts.is_oci else _HTTP_FORM
    elif is_open:
        form = (
            f"Name an exact version: {repaired}{':' if parts.is_oci else '@'}VERSION. Without one it is the newest stable version."
        )
    else:
        return use_chart(repaired, before=login)
    return {"hint": form, "http_hint": form}


def _split(text: str) -> _Parts:
    """Split a text with a scheme; each text has parts, also where they are invalid."""
    text = text.strip()
    found = _SCHEME.match(text)
    rest = text[found.end() if found else 0 :]
    rest, *queries = re.split("[?#]", rest, maxsplit=1)
    flag = _FLAG.search(rest)
    rest = rest[: flag.start()] if flag else rest
    authority, slash, path = rest.partition("/")
    user, at_host, server = authority.rpartition("@") if slash else ("", "", authority)
    host, at_port, port = (server, "", "") if server.startswith("[") else server.partition(":")
    path, at_digest, digest = path.partition("@")
    path, at_version, version = path.partition(":")
    return _Parts(
        scheme=found["scheme"] if found else "",
        slashes=found["slashes"] if found else "",
        user=user if at_host else None,
        host=host,
        port=port if at_port else None,
        path=path,
        version=version if at_version else flag["version"] if flag else None,
        digest=digest if at_digest else None,
        query=queries[0] if queries else None,
        flag=flag is not None,
    )


def _repaired(parts: _Parts) -> str:
    """Return the reference that the parts mean; it may be invalid."""
    if "@" in (parts.query or ""):  # the password before it had a `?` or `#`
        return ""
    host = parts.host.lower() + (f":{parts.port}" if parts.port else "")
    path = "/".join(part for part in parts.path.split("/") if part)
    version, digest = parts.version or "", ""
    if parts.digest and parts.has_digest:
        digest, _, after = parts.digest[len("sha256:") :].lower().partition(":")
        version, digest = version or after, f"@sha256:{digest}"
    elif parts.digest:
        if not re.match("v?[0-9]", parts.digest):  # a host, after a password that had a slash
            return ""
        version = version or parts.digest
    if parts.is_oci:
        return f"oci://{host}/{path.lower()}" + (f":{version}" if version else "") + digest
    return f"{parts.scheme.lower()}://{host}/{path}" + (f"@{version}" if version else "")


def _oci_problems(parts: _Parts) -> Iterator[str]:
    """Yield what is wrong, as words that follow "The chart reference"; the last one is yielded for each text."""
    yield from _problems(parts, "oci://", "oci://HOST/PATH")
    if parts.path != parts.path.lower():
        yield "has upper-case letters in its path, which OCI registries do not permit"
    if parts.digest is not None:
        yield from _digest_problems(parts.digest)
    yield from _version_problems(parts.version, ":")
    yield "has an invalid path; its parts consist of a-z and 0-9, with single `.`, `_` or `-` between them"


def _http_problems(parts: _Parts) -> Iterator[str]:
    yield from _problems(parts, "https://", "https://HOST/PATH/CHART")
    if parts.version is not None:
        yield "has `:` before its version; in a chart repository `@` is expected"
    if parts.has_digest:
        yield "has a digest, and chart repositories have none; @VERSION is expected"
    yield from _version_problems(parts.digest, "@")
    yield "has invalid characters in its path; letters, digits, `.`, `_`, `~` and `-` are expected"


def _problems(parts: _Parts, scheme: str, form: str) -> Iterator[str]:
    """Yield what is wrong in a reference of either kind, from left to right."""
    segments = unquote(parts.path).split("/")
    checks = {
        f"does not begin with {scheme}, in lower case and with two slashes": parts.slashes != "//" or not parts.scheme.islower(),
        f"has a user name before its host; {form} is expected": parts.user is not None,
        "has a query or a fragment (from `?` or `#` on), which names no chart": parts.query is not None,
        f"has a blank in it; {form} is one word, and the version a part of it": parts.flag,
        f"has no host; {form} is expected": not parts.host,
        f"has a host, but no path with the chart's name; {form} is expected": not parts.path.strip("/"),
        "has an IPv6 address; a host name or an IPv4 address is expected": parts.host.startswith("["),
        "has upper-case letters in its host; lower case is expected": not parts.host.islower() and parts.host.lower().islower(),
        "has an invalid host; a name such as registry.example.com is expected": not _HOST.fullmatch(parts.host.lower()),
        "has an invalid port; a number from 1 to 65535 is expected": parts.port is not None and not _PORT.fullmatch(parts.port),
        "has `.`, `..` or `%` as a part of its path; names are expected": bool({".", ".."} & {*segments}) or "%" in parts.path,
        "has an empty part in its path; one slash is expected between names, and none at the end": "" in segments,
    }
    yield from (problem for problem, found in checks.items() if found)


def _digest_problems(text: str) -> Iterator[str]:
    algorithm, colon, value = text.partition(":")
    if not text:
        yield "has nothing after `@`; sha256:DIGEST is expected there"
    if not colon:
        yield "has `@` before its version; a version follows `:`, and a digest `@`"
    if algorithm.lower() != "sha256":
        yield "has a digest that is not of SHA-256; sha256: and 64 hexadecimal digits are expected after `@`"
    if ":" in value:
        yield "has its version after the digest; :VERSION@sha256:DIGEST is expected"
    if not _DIGEST.fullmatch(value):
        yield f"has a digest of {len(value)} characters; 64 hexadecimal digits in lower case are expected after @sha256:"


def _version_problems(version: str | None, separator: str) -> Iterator[str]:
    if version is None:
        return
    if not version:
        yield f"has nothing after `{separator}`; a version is expected there"
    if _RANGE.search(version):
        yield "has a range of versions; an exact version is expected"
    if not _VERSION.fullmatch(version):
        yield (
            "has an invalid version; letters, digits, `.`, `_`, `-` and `+` are expected, at most 128, a letter or a digit first"
        )
