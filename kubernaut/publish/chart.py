"""Copy the user's chart, set its name, version, annotations and image, and package it with Helm.

The user's folder is only read. The copy is rendered with its own values and with those of each environment before it is packaged: a
chart that does not render or does not run the image is not published. Helm 3 writes the time into a package, so two packages of one
source may differ in their digest, not in their content.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from kubernaut.errors import BadInput, ChartInvalid, ImageNotPinned, ValuesInvalid
from kubernaut.publish.registry import ENVIRONMENTS, IMAGE, ON_FAILURE, PROBE, SOURCE_DIGEST
from kubernaut.publish.source import NO_TIME, Source, read_entry
from kubernaut.yaml_reader import Document, YamlProblem, parse_yaml, read_document

if TYPE_CHECKING:  # importing it takes 30 ms, and an unchanged version does not need it
    from kubernaut.adapters.helm import Helm

_IMAGE_KEY = re.compile(r"""(?:^|[\s{,"'])image["']?\s*:\s*["']?([^\s"',}]+)""")
_DOCUMENT = re.compile(r"^---\s", re.MULTILINE)
_HOOK = re.compile(r"""helm\.sh/hook["']?\s*:""")
_SHOWN_IMAGES = 5


def read_environments(source: Source) -> dict[str, dict[str, Any]]:
    """Return the values of each environment in kubernaut.yaml, by name. Raises: ValuesInvalid."""
    return {
        entry.name: parse_yaml(read_entry(entry), str(entry.path))
        for entry in sorted(source.section("environment"), key=lambda entry: entry.name)
    }


def images_of(manifest: str) -> list[str]:
    """Return the images in a rendered chart, without those of hooks and tests."""
    documents = _DOCUMENT.split(manifest)
    return [image for document in documents if not _HOOK.search(document) for image in _IMAGE_KEY.findall(document)]


class ChartCopy:
    """A working copy of an application's chart.

    Args:
        source: The application and the files of its chart.
        folder: The parent folder of the copy; the caller removes it.
        version: The ``version`` and ``appVersion``.
        facts: Further annotations: revision, source, created, build URL.
        time: The time of the files, normally the commit's.
    """

    def __init__(self, source: Source, folder: Path, *, version: str, facts: Mapping[str, str], time: datetime | None) -> None:
        self._source = source
        self._application = source.application
        self._version = version
        self._facts = dict(facts)
        self._time = (time or NO_TIME).timestamp()
        self._folder = folder
        self._chart = folder / "chart" / self._application.name
        self._environments = read_environments(self._source)
        self._copy()
        self._metadata = self._mapping("Chart.yaml")
        self._check_schema()
        values = self._chart / "values.yaml"
        self._values = values.read_bytes() if values.exists() else b""

    def pin(self, repository: str, digest: str) -> None:
        """Write the image into the values, and the facts about the version into Chart.yaml. Raises: ChartInvalid."""
        application = self._application
        self._write("values.yaml", self._pin_values(repository, digest))
        annotations = {
            **(self._metadata.get("annotations") or {}),
            **self._facts,
            SOURCE_DIGEST: self._source.digest,
            IMAGE: f"{repository}@{digest}",
            ON_FAILURE: application.on_failure,
        }
        if application.probe is not None:
            annotations[PROBE] = json.dumps(application.probe.model_dump(mode="json", by_alias=True))
        if self._environments:
            annotations[ENVIRONMENTS] = ",".join(self._environments)
        metadata = {
            **self._metadata,
            "name": application.name,
            "version": self._version,
            "appVersion": self._version,
            "annotations": {str(key): str(value) for key, value in annotations.items()},
        }
        self._write("Chart.yaml", yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).encode())

    def _pin_values(self, repository: str, digest: str) -> bytes:
        pin = self._application.pin
        pins = {pin.repository: repository, pin.digest: digest}
        if pin.tag is not None:
            pins[pin.tag] = self._version
        return pin_values(self._values, pins, shown=str(self._application.chart_path / "values.yaml"))

    def check(self, helm: Helm, image: str) -> None:
        """Render the copy with its own values and with those of each environment.

        Raises:
            ChartInvalid: A template fails; the message has file and line.
            ValuesInvalid: An environment's values do not match the chart's schema.
            ImageNotPinned: The rendered chart does not run ``image``.
        """
        for name, values in [("", {}), *self._environments.items()]:
            try:
                manifest = helm.template(self._chart, name=self._application.name, namespace=name or "default", values=values)
            except (ChartInvalid, ValuesInvalid) as error:
                raise self._with_user_paths(error, name) from error
            images = images_of(manifest)
            if image not in images:
                raise self._not_pinned(image, images, name)

    def package(self, helm: Helm) -> Path:
        """Package the copy; return the ``.tgz``.

        Raises:
            ChartInvalid: Helm rejects the chart, or .helmignore excludes an environment's values.
        """
        destination = self._folder / "package"
        destination.mkdir(exist_ok=True)
        try:
            package = helm.package(self._chart, destination)
        except (ChartInvalid, ValuesInvalid) as error:
            raise self._with_user_paths(error, "") from error
        with tarfile.open(package) as tar:
            names = set(tar.getnames())
        for name in self._environments:
            if f"{self._application.name}/environments/{name}.yaml" not in names:
                raise ChartInvalid(
                    f"{self._application.chart_path / '.helmignore'} excludes environments/{name}.yaml from the package."
                )
        return package

    def _copy(self) -> None:
        for entry in self._source.section("chart"):
            self._write(entry.name, read_entry(entry))
        for entry in self._source.section("environment"):
            name = f"environments/{entry.name}.yaml"
            data = read_entry(entry)
            taken = self._chart / name
            if taken.exists() and taken.read_bytes() != data:
                raise ChartInvalid(f"The chart has its own {name}, and kubernaut.yaml names {entry.path} for the same file.")
            self._write(name, data)

    def _write(self, name: str, data: bytes) -> None:
        path = self._chart / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (self._time, self._time))

    def _mapping(self, name: str) -> dict[str, Any]:
        shown = self._application.chart_path / name
        text = (self._chart / name).read_bytes()
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            raise ChartInvalid(f"{shown}:{1 if mark is None else mark.line + 1}: not YAML.") from error
        _read_document(text, str(shown))
        if not isinstance(content, dict) or not isinstance(content.get("annotations") or {}, dict):
            raise ChartInvalid(f"{shown}:1: expected a mapping.")
        return content

    def _check_schema(self) -> None:
        # For a schema that is not JSON, Helm reports an error in the *values*.
        name = "values.schema.json"
        path = self._chart / name
        if not path.exists():
            return
        try:
            json.loads(path.read_bytes())
        except json.JSONDecodeError as error:
            raise ChartInvalid(f"{self._application.chart_path / name}:{error.lineno}: not JSON: {error.msg}.") from error
        except (UnicodeDecodeError, RecursionError) as error:
            raise ChartInvalid(f"{self._application.chart_path / name}:1: not JSON.") from error

    def _with_user_paths(self, error: BadInput, environment: str) -> BadInput:
        def with_user_paths(text: str) -> str:
            text = text.replace(f"{self._chart}/", f"{chart}/").replace(str(self._chart), chart)
            return re.sub(r"failed at (?=[^/])", f"failed at {chart}/", text, count=1)

        chart = os.path.normpath(self._application.chart_path)
        where = f" with the values of {self._application.environment_paths[environment]}" if environment else ""
        message = with_user_paths(error.message)
        if where:
            message = message.replace(" failed", f"{where} failed", 1)
        return type(error)(message, hint=error.hint, details=[with_user_paths(line) for line in error.details])

    def _not_pinned(self, image: str, images: list[str], environment: str) -> ImageNotPinned:
        where = f" with the values of {self._application.environment_paths[environment]}" if environment else ""
        others = sorted(set(images))[:_SHOWN_IMAGES]
        runs = f"it runs {', '.join(others)}" if others else "it does not run any image"
        repository = image.partition("@")[0]
        return ImageNotPinned(
            f"The chart {self._application.chart_path}, rendered{where}, does not run {repository} by digest: {runs}."
        )


# values.yaml with the image; pure


def pin_values(text: bytes, pins: Mapping[str, str], *, shown: str) -> bytes:
    """Return the bytes of a values file with the pins set: values by dotted path. Messages call the file ``shown``.

    Comments, order and quotes are kept. The result is read back as Helm reads it, to check that only the pins changed; if that
    fails, the values are written as JSON instead.

    Raises:
        ChartInvalid: The file is not YAML, or a pin's parent is not a mapping.
    """
    pinned = _with_pins(text, pins, shown)
    kept = _keeping_comments(text, pins)
    if kept is not None and _plain(kept) == pinned:
        return kept
    return json.dumps(pinned, indent=2, ensure_ascii=False).encode()


def _read_document(text: bytes, shown: str) -> Document:
    """Return the content of a YAML file of the chart, with line numbers. Raises: ChartInvalid."""
    try:
        document = read_document(text)
    except YamlProblem as error:
        raise ChartInvalid(f"{shown}:{error.line}: {error.message}.") from error
    for line, fault in document.problems:
        raise ChartInvalid(f"{shown}:{line}: {fault}.")
    return document


def _with_pins(text: bytes, pins: Mapping[str, str], shown: str) -> dict[str, Any]:
    document = _read_document(text, shown)
    if document.content is not None and not isinstance(document.content, dict):
        raise ChartInvalid(f"{shown}:1: expected a mapping.")
    try:
        content = parse_yaml(text, shown)
    except ValuesInvalid as error:
        raise ChartInvalid(error.message) from error
    unshared: dict[str, Any] = _unshared(content)
    for path, value in pins.items():
        keys = path.split(".")
        place = unshared
        for depth, key in enumerate(keys[:-1]):
            if place.get(key) is None:
                place[key] = {}
            place = place[key]
            if not isinstance(place, dict):
                line = document.line(keys[: depth + 1])
                raise ChartInvalid(f"{shown}:{line}: {'.'.join(keys[: depth + 1])} is not a mapping, so {path} cannot be pinned.")
        place[keys[-1]] = value
    return unshared


def _unshared(content: Any) -> Any:
    # Two aliases of one mapping are one object: a pin in the first must not appear in the second.
    if isinstance(content, dict):
        return {key: _unshared(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_unshared(value) for value in content]
    return content


def _keeping_comments(text: bytes, pins: Mapping[str, str]) -> bytes | None:
    from ruamel.yaml import YAML  # costs 30 ms, and only a build needs it
    from ruamel.yaml.error import MarkedYAMLError, YAMLStreamError

    editor = YAML(typ="rt")
    editor.preserve_quotes = True
    editor.width = 1 << 16
    try:
        content = editor.load(text.decode("utf-8-sig")) or editor.map()
        for path, value in pins.items():
            *above, last = path.split(".")
            place = content
            for key in above:
                if place.get(key) is None:
                    place[key] = editor.map()
                place = place[key]
            place[last] = value
        out = io.BytesIO()
        editor.dump(content, out)
    except (YAMLStreamError, MarkedYAMLError, ValueError, AttributeError, TypeError):
        return None
    return out.getvalue()


def _plain(text: bytes) -> Any:
    try:
        return parse_yaml(text, "")
    except ValuesInvalid:
        return None
