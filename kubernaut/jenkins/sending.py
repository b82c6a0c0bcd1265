"""What is sent to a Jenkins, checked before it is: a server takes a wrong configuration badly, or not as it was meant.

Pure, and so is how a configuration that it sends is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from kubernaut.errors import JobInvalid
from kubernaut.jenkins.path import JobPath
from kubernaut.jenkins.responses import NotUnderstood

_DECLARATION = re.compile(r"\s*<\?xml\b[^>]*\?>\s*")
_ENCODING = re.compile(rb"""<\?xml\b[^>]*\bencoding=["']([A-Za-z][\w.-]{0,40})["'][^>]*\?>""")
# Jenkins keeps a build's values as XML, and a build whose file has such characters is lost when the server starts again.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")


def as_sent(path: JobPath, config: str) -> tuple[str, bytes]:
    """Return a configuration's outermost element and its bytes as a server takes them: UTF-8, and declared as XML 1.0.

    Jenkins writes XML 1.1 itself, which neither Hudson nor most readers take.

    Raises:
        JobInvalid: It is no XML.
    """
    content = _DECLARATION.sub("", config, count=1) if _DECLARATION.match(config) else config
    try:
        body = content.encode()
        root = ElementTree.fromstring(body)  # noqa: S314 - expat itself holds entities to a size
    except UnicodeEncodeError as error:
        raise JobInvalid(f"The configuration of the job {path} has characters that are none: {error.reason}.") from error
    except ElementTree.ParseError as error:
        raise JobInvalid(f"The configuration of the job {path} is no XML: {error}.") from error
    return root.tag, b"<?xml version='1.0' encoding='UTF-8'?>\n" + body


def checked_values(path: JobPath, values: Mapping[str, str]) -> None:
    """Check what a job is given.

    Raises:
        JobInvalid: A value has characters that neither a form nor XML has. The message shows none of it.
    """
    for name, value in values.items():
        for text, what in ((name, "The name of a parameter"), (value, f"The value of {name!r}")):
            if _CONTROL.search(text) or any("\ud800" <= char <= "\udfff" for char in text):
                raise JobInvalid(
                    f"{what} for the job {path} has a character that is no text.",
                    hint="Leave out control characters other than tabs and line ends, and what is not UTF-8.",
                )


def read_config(body: bytes) -> str:
    """Read a configuration as a server sends it. Raises: NotUnderstood: It is something else."""
    declared = _ENCODING.match(body[:200].lstrip())
    try:
        text = body.decode(declared[1].decode() if declared else "utf-8")
    except (LookupError, UnicodeError) as error:
        raise NotUnderstood from error
    start = text.lstrip()[:20].lower()
    if not start.startswith("<") or start.startswith(("<!doctype", "<html")):
        raise NotUnderstood
    return text
