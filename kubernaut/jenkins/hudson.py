"""A job's config.xml as a server gives it, read into one layout; and that layout as a person reads it.

Jenkins and Hudson give a job back as it was sent until they save it themselves; then Jenkins adds what is its default, and Hudson
moves most of a job into ``project-properties``, each setting an entry with an ``originalValue``, and may leave stale copies of it,
or XStream's references to it, where it was. :func:`read` brings all of that back to the classic layout, which both take. Pure.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from copy import deepcopy
from difflib import unified_diff

from kubernaut.errors import JobInvalid
from kubernaut.redact import MASK

PARAMETERS = "hudson.model.ParametersDefinitionProperty"
_FOLDED = "project-properties"
_DECLARATION = re.compile(r"\A\ufeff?\s*<\?xml[^>]*\?>")
_PAIR = re.compile(r"&#(5[5-6][0-9]{3});&#(5[6-7][0-9]{3});")
_STEP = re.compile(r"([\w.$-]+)(?:\[([0-9]+)\])?")
_PLAIN = ("string", "boolean", "int", "long")
_SECRET_TAG = re.compile(r"pass(?:word|phrase)|token|secret|private.?key", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"\{A[A-Za-z0-9+/]{15,}={0,2}\}")  # as Jenkins writes what it has encrypted
_CONTEXT = 3


def read(text: str) -> ET.Element:
    """Read a config.xml into the classic layout.

    Raises:
        JobInvalid: It is not XML, or says things that no job's configuration says.
    """
    body = _PAIR.sub(_join, _DECLARATION.sub("", text, count=1))  # Jenkins declares XML 1.1, of which the parser knows nothing
    if "<!DOCTYPE" in body:
        raise JobInvalid("The server's config.xml has a document type, which no job's configuration has.")
    try:
        root = ET.fromstring(body)  # noqa: S314 - without a document type there are no entities, and nothing else can grow
    except (ET.ParseError, ValueError) as error:
        raise JobInvalid(f"The server's config.xml cannot be read: {error}.") from error
    _resolve(root)
    properties = root.find(_FOLDED)
    if properties is not None:
        _unfold(root, properties)
    return root


def write(root: ET.Element, *, hudson: bool = False) -> str:
    """Return a config.xml as it is sent; XML 1.0, which both servers take.

    Args:
        root: In the classic layout.
        hudson: It is for a Hudson, which keeps the entries that it has in memory for whatever a text without any does not name: the
            steps and parameters would be the old ones until it starts again, and come back with its next save.
    """
    copy = deepcopy(root)
    if hudson and copy.find(_FOLDED) is None:
        copy.insert(0, ET.Element(_FOLDED, {"class": "concurrent-hash-map"}))
    ET.indent(copy)
    text = ET.tostring(copy, encoding="unicode").replace("\r", "&#13;")  # ElementTree leaves it bare, and parsers drop it
    return f"<?xml version='1.0' encoding='UTF-8'?>\n{text}\n"


def difference(before: ET.Element, after: ET.Element) -> str:
    """Return a unified diff of two configurations for a person, secrets masked; empty where there is none to see."""
    lines = unified_diff(_shown(before), _shown(after), "as it is", "as it is to be", n=_CONTEXT, lineterm="")
    return "\n".join(lines)


def _join(found: re.Match[str]) -> str:
    """Join the halves of a character above U+FFFF, which Hudson writes as two references that XML does not allow."""
    high, low = int(found[1]), int(found[2])
    if 0xD800 <= high < 0xDC00 <= low < 0xE000:
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
    return found[0]


def _shown(root: ET.Element) -> list[str]:
    copy = deepcopy(root)
    for element in copy.iter():
        text = element.text or ""
        if len(element) == 0 and text.strip() and _SECRET_TAG.search(element.tag):
            element.text = MASK
        elif _SECRET_TEXT.search(text):
            element.text = _SECRET_TEXT.sub(MASK, text)
        if not (element.text or "").strip():
            element.text = None
    ET.indent(copy)
    return ET.tostring(copy, encoding="unicode").splitlines()


def _resolve(root: ET.Element) -> None:
    """Put in the place of each of XStream's references what it refers to."""
    parents = {child: parent for parent in root.iter() for child in parent}
    found = [(element, _target(element, parents)) for element in root.iter() if "reference" in element.attrib]
    for element, target in found:
        if target is not None and "reference" not in target.attrib:
            del element.attrib["reference"]
            element.attrib.update({name: value for name, value in target.attrib.items() if name != "class"})
            element.text = target.text
            element.extend(deepcopy(child) for child in target)


def _target(element: ET.Element, parents: dict[ET.Element, ET.Element]) -> ET.Element | None:
    """Follow a path such as ``../../entry[2]/value``."""
    at: ET.Element | None = element
    for step in element.attrib["reference"].split("/"):
        if at is None:
            return None
        match = _STEP.fullmatch(step)
        if step == "..":
            at = parents.get(at)
        elif match is not None:
            named = at.findall(match[1])
            number = int(match[2] or 1) - 1
            at = named[number] if 0 <= number < len(named) else None
        else:
            return None
    return at


def _unfold(root: ET.Element, properties: ET.Element) -> None:
    """Move each setting out of Hudson's entries; what is not known stays there, where Hudson finds it again."""
    for entry in list(properties):
        value = entry.find("*/originalValue")
        if value is not None and _unfold_entry(root, entry.findtext("string", ""), value):
            properties.remove(entry)
    if len(properties) == 0:
        root.remove(properties)


def _unfold_entry(root: ET.Element, key: str, value: ET.Element) -> bool:
    kind = value.get("class", "")
    if key in _UNFOLD:
        _UNFOLD[key](root, value)
    elif kind in _PLAIN:
        _child(root, key).text = value.text  # the copy at the top may be an old one
    elif kind.startswith("hudson.triggers."):
        _append(root, "triggers", value)
    elif kind.startswith("hudson.tasks."):
        _append(root, "publishers", value)
    else:
        return False
    return True


def _unfold_builders(root: ET.Element, value: ET.Element) -> None:
    _child(root, "builders").extend(list(value))


def _unfold_parameters(root: ET.Element, value: ET.Element) -> None:
    properties = _child(root, "properties")
    for old in properties.findall(PARAMETERS):
        properties.remove(old)
    properties.extend(list(value))


def _unfold_node(root: ET.Element, value: ET.Element) -> None:
    for tag, name in (("assignedNode", "nodeName"), ("canRoam", "canRoam")):
        text = value.findtext(name)
        if text is not None:
            _child(root, tag).text = text


def _unfold_whole(tag: str) -> Callable[[ET.Element, ET.Element], None]:
    def unfold(root: ET.Element, value: ET.Element) -> None:
        old = root.find(tag)
        if old is not None:
            root.remove(old)
        moved = deepcopy(value)
        moved.tag = tag
        root.append(moved)

    return unfold


def _append(root: ET.Element, tag: str, value: ET.Element) -> None:
    moved = deepcopy(value)
    moved.tag = moved.attrib.pop("class")
    _child(root, tag).append(moved)


def _child(root: ET.Element, tag: str) -> ET.Element:
    found = root.find(tag)
    return ET.SubElement(root, tag) if found is None else found


_UNFOLD: dict[str, Callable[[ET.Element, ET.Element], None]] = {
    "builders": _unfold_builders,
    "parametersDefinitionProperties": _unfold_parameters,
    "appointedNode": _unfold_node,
    "scm": _unfold_whole("scm"),
    "logRotator": _unfold_whole("logRotator"),
}
