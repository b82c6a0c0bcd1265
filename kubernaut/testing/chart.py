"""Charts for the fake Helm: enough for tests, with errors in the same places as Helm."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kubernaut.deploy.values.large_numbers import as_template_writes
from kubernaut.errors import ChartInvalid, ValuesInvalid
from kubernaut.testing.hooks import Hook, split_hooks

_EXPRESSION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_TYPES = {"string": str, "object": Mapping, "array": list, "boolean": bool, "number": (int, float), "integer": int}


@dataclass(frozen=True)
class FakeChart:
    """The parts of a chart."""

    metadata: Mapping[str, Any]
    values: Mapping[str, Any]
    files: Mapping[str, bytes] = field(repr=False)

    @property
    def name(self) -> str:
        """The chart's name."""
        return str(self.metadata["name"])

    @property
    def digest(self) -> str:
        """The digest of the chart's content."""
        content = hashlib.sha256()
        for path, data in sorted(self.files.items()):
            content.update(path.encode() + b"\0" + data + b"\0")
        return f"sha256:{content.hexdigest()}"

    def render(self, name: str, namespace: str, values: Mapping[str, Any]) -> str:
        """Return the rendered manifest, without hooks. Raises: ChartInvalid, ValuesInvalid."""
        return self.render_with_hooks(name, namespace, values)[0]

    def render_with_hooks(self, name: str, namespace: str, values: Mapping[str, Any]) -> tuple[str, list[Hook]]:
        """Return the rendered manifest, and the hooks. Raises: ChartInvalid, ValuesInvalid."""
        merged = _coalesced(self.values, values)
        self._check(merged)
        parts, hooks = [], list[Hook]()
        for path, data in sorted(self.files.items()):
            if path.startswith("templates/") and not path.endswith("NOTES.txt"):
                text = self._expand(path, data.decode(), {"Values": merged, "Release": {"Name": name, "Namespace": namespace}})
                self._parse(path, text)
                rest, found = split_hooks(f"{self.name}/{path}", text)
                hooks += found
                if rest.strip() or not found:
                    parts.append(f"---\n# Source: {self.name}/{path}\n{rest.strip()}\n")
        return "".join(parts), hooks

    def _expand(self, path: str, text: str, scope: Mapping[str, Any]) -> str:
        def replace(match: re.Match[str]) -> str:
            value, *functions = (part.strip() for part in match[1].split("|"))
            line = text.count("\n", 0, match.start()) + 1
            found: Any = scope
            for key in value.removeprefix(".").split("."):
                if not value.startswith(".") or not isinstance(found, Mapping):
                    raise ChartInvalid(
                        f"Rendering the chart {self.name} failed at {path}:{line}: template: {value}: it cannot be evaluated"
                    )
                found = found.get(key)
            for function in functions:
                found = json.dumps(found) if function == "toJson" else _quoted(_text(found))
            return _text(found)

        return _EXPRESSION.sub(replace, text)

    def _parse(self, path: str, text: str) -> None:
        try:
            list(yaml.compose_all(text, Loader=yaml.SafeLoader))  # its values are Helm's to judge: `=` is text there
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ChartInvalid(f"Rendering the chart {self.name} failed at {path}:{line}: YAML parse error on {path}") from error

    def _check(self, values: Mapping[str, Any]) -> None:
        schema = json.loads(self.files.get("values.schema.json", b"{}"))
        for key, wanted in (schema.get("properties") or {}).items():
            right: Any = _TYPES.get(wanted.get("type"), object)
            if key in values and (
                not isinstance(values[key], right) or (right in (int, (int, float)) and isinstance(values[key], bool))
            ):
                raise ValuesInvalid(f"values don't meet the specifications of the schema(s): {key}: want {wanted['type']}")


def _text(value: Any) -> str:
    """Return a value as a template writes it; numbers of a values file are floats."""
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value).lower()
    return as_template_writes(int(value)) if isinstance(value, int | float) and int(value) == value else str(value)


def _quoted(text: str) -> str:
    """Return a double-quoted YAML string; YAML does not have surrogate pairs."""
    return json.dumps(text, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def load_chart(path: Path) -> FakeChart:
    """Read a chart folder or package. Raises: ChartInvalid."""
    if path.is_dir():
        files = {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
    elif path.is_file():
        with tarfile.open(path) as archive:
            members = [member for member in archive.getmembers() if member.isfile()]
            files = {member.name.partition("/")[2]: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    else:
        raise ChartInvalid(f'path "{path}" not found')
    if "Chart.yaml" not in files:
        raise ChartInvalid(f"The chart {path.name}: Chart.yaml file is missing")
    try:
        metadata = yaml.safe_load(files["Chart.yaml"])
        values = yaml.safe_load(files.get("values.yaml", b"")) or {}
    except yaml.YAMLError as error:
        raise ChartInvalid(f"The chart {path.name}: cannot load Chart.yaml or values.yaml") from error
    if not isinstance(metadata, dict) or not metadata.get("version") or not metadata.get("name"):
        raise ChartInvalid(f"The chart {path.name}: validation: chart.metadata.version is required")
    return FakeChart(metadata, values, files)


def pack_chart(chart: FakeChart, destination: Path) -> Path:
    """Write the package of a chart and return its path."""
    path = destination / f"{chart.name}-{chart.metadata['version']}.tgz"
    destination.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in sorted(chart.files.items()):
            member = tarfile.TarInfo(f"{chart.name}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def _coalesced(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge values over a chart's defaults as Helm does for rendering: ``null`` removes a default."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = _coalesced(below, value)
        else:
            merged[key] = value
    return merged
