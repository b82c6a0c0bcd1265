"""Hudson: every difference from Jenkins, its fork, that kubernaut meets. All other modules speak Jenkins and ask here.

Hudson has freestyle jobs only and no folders, does not report queue item IDs, and has its own URLs for a few requests. It moves
most of a saved job into ``project-properties``, each setting an entry with an ``originalValue``, and may leave stale copies of a
setting, or XStream references to it, at the old place; :func:`unfold` restores the layout of Jenkins, which both accept. Pure.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from copy import deepcopy
from typing import Literal
from urllib.parse import unquote

from kubernaut.errors import JobInvalid

ServerKind = Literal["jenkins", "hudson"]
Flavour = Literal["pipeline", "freestyle"]

PARAMETERS = "hudson.model.ParametersDefinitionProperty"
_PROPERTIES = "project-properties"
_SURROGATES = re.compile(r"&#(5[5-6][0-9]{3});&#(5[6-7][0-9]{3});")
_REFERENCE_STEP = re.compile(r"([\w.$-]+)(?:\[([0-9]+)\])?")
_SCALARS = ("string", "boolean", "int", "long")


# requests and responses


def kind_of_response(headers: Mapping[str, str]) -> ServerKind | None:
    """Return the kind of server: Jenkins sends its header with each response, Hudson with its front page only."""
    return "jenkins" if "X-Jenkins" in headers else "hudson" if "X-Hudson" in headers else None


def builds_tree(kind: ServerKind | None, tree: str, count: int) -> str:
    """Return the ``tree`` of a job's last builds. Hudson has no ranges and returns all builds that the job keeps."""
    return f"builds[{tree}]{{0,{count}}}" if kind == "jenkins" else f"builds[{tree}]"


def cancel_url(kind: ServerKind, item_id: int) -> str:
    """Return the path that removes an item from the queue."""
    return f"queue/cancelItem?id={item_id}" if kind == "jenkins" else f"queue/item/{item_id}/cancelQueue"


def reports_queue_ids(kind: ServerKind) -> bool:
    """Say whether the answer to a trigger names the queue item."""
    return kind == "jenkins"


def is_job_page(path: str, job_url_path: str) -> bool:
    """Say whether a redirect shows the job: Hudson, and Jenkins for some time, answer a trigger with it."""
    return unquote(path).rstrip("/").endswith(f"/{unquote(job_url_path)}")


def waiting_reason(why: object) -> str | None:
    """Return why an item waits; Hudson says ``???`` at first."""
    return why if isinstance(why, str) and why.strip("?") else None


# jobs


def choose_flavour(kind: ServerKind, requested: Flavour | None) -> Flavour:
    """Return the flavour of the jobs on a server: Pipelines, and freestyle jobs on a Hudson.

    Raises:
        JobInvalid: Pipelines are requested for a Hudson.
    """
    if kind == "hudson" and requested == "pipeline":
        raise JobInvalid(
            "The server is a Hudson, which has no Pipelines and does not start again with one.",
            hint="Omit --flavour, or use --flavour freestyle.",
        )
    return requested or ("freestyle" if kind == "hudson" else "pipeline")


def unsupported_job(job: str, url: str) -> JobInvalid:
    """Return the error for any job but a freestyle job, with which Hudson would not start again."""
    return JobInvalid(f"{url} is a Hudson and accepts freestyle jobs only; job {job} is not one.", hint="Use --flavour freestyle.")


def failed_creation_hint(name: str) -> str:
    """Return the hint for a job whose creation failed on the server: Hudson keeps its folder."""
    return f"Remove the folder jobs/{name} in the Hudson home directory: Hudson does not start again with it."


# config.xml


def join_surrogates(text: str) -> str:
    """Return XML whose characters above U+FFFF are characters; Hudson writes two references, which XML forbids."""
    return _SURROGATES.sub(_join, text)


def fold(root: ET.Element) -> None:
    """Add an empty ``project-properties``, without which Hudson keeps the steps and parameters that it has in memory."""
    if root.find(_PROPERTIES) is None:
        root.insert(0, ET.Element(_PROPERTIES, {"class": "concurrent-hash-map"}))


def unfold(root: ET.Element) -> None:
    """Restore the layout of Jenkins: resolve references, and move each setting out of its entry.

    Unknown entries stay, where Hudson finds them again.
    """
    _resolve(root)
    properties = root.find(_PROPERTIES)
    if properties is None:
        return
    for entry in list(properties):
        value = entry.find("*/originalValue")
        if value is not None and _unfold_entry(root, entry.findtext("string", ""), value):
            properties.remove(entry)
    if len(properties) == 0:
        root.remove(properties)


def _join(found: re.Match[str]) -> str:
    high, low = int(found[1]), int(found[2])
    if 0xD800 <= high < 0xDC00 <= low < 0xE000:
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
    return found[0]


def _resolve(root: ET.Element) -> None:
    """Replace each XStream reference by a copy of its target."""
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
        match = _REFERENCE_STEP.fullmatch(step)
        if at is None:
            return None
        if step == "..":
            at = parents.get(at)
        elif match is not None:
            named, number = at.findall(match[1]), int(match[2] or 1) - 1
            at = named[number] if 0 <= number < len(named) else None
        else:
            return None
    return at


def _unfold_entry(root: ET.Element, key: str, value: ET.Element) -> bool:
    kind = value.get("class", "")
    if key == "builders":
        _child(root, key).extend(list(value))
    elif key == "parametersDefinitionProperties":
        _unfold_parameters(root, value)
    elif key == "appointedNode":
        _unfold_node(root, value)
    elif key in ("scm", "logRotator"):
        if (old := root.find(key)) is not None:
            root.remove(old)
        _append(root, key, value)
    elif kind in _SCALARS:
        _child(root, key).text = value.text  # the copy at the top may be stale
    elif kind.startswith("hudson.triggers."):
        _append(_child(root, "triggers"), kind, value)
    elif kind.startswith("hudson.tasks."):
        _append(_child(root, "publishers"), kind, value)
    else:
        return False
    return True


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


def _append(parent: ET.Element, tag: str, value: ET.Element) -> None:
    moved = deepcopy(value)
    moved.tag = tag
    if moved.get("class") == tag:
        del moved.attrib["class"]
    parent.append(moved)


def _child(root: ET.Element, tag: str) -> ET.Element:
    found = root.find(tag)
    return ET.SubElement(root, tag) if found is None else found
