"""``kubernaut.yaml``: the Dockerfile, the chart, and the probe of an application.

The file is read strictly: an unknown key, a wrong type or a path outside the work tree is an error with file and line, and all
errors are reported together. The paths are checked for existence; no other file is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from kubernaut.adapters.git import find_work_tree
from kubernaut.errors import ApplicationInvalid, DockerfileInvalid, KubernautError, NameInvalid
from kubernaut.models import Model, check_name, check_namespace
from kubernaut.yaml_reader import Document, YamlProblem, read_document

FILE_NAME = "kubernaut.yaml"

_VALUES_PATH = r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*"
_TAG_PREFIX = r"([A-Za-z0-9_][A-Za-z0-9._/-]*)?"
_BUILD_ARG = r"[A-Za-z_][A-Za-z0-9_]*"
_PORT_NAME = r"[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?"
_HTTP_PATH = r"/[!-~]*"


def _matching(pattern: str, expected: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not {expected}")
        return text

    return AfterValidator(check)


def _valid_by(check: Callable[[str], str]) -> AfterValidator:
    def run(text: str) -> str:
        try:
            return check(text)
        except NameInvalid as error:
            raise ValueError(f"{error.message.rstrip('.')}: {error.hint[0].lower()}{error.hint[1:].rstrip('.')}") from error

    return AfterValidator(run)


def _port(port: int | str) -> int | str:
    if isinstance(port, int) and not 1 <= port <= 65535:
        raise ValueError(f"{port} is not a port")
    if isinstance(port, str) and not re.fullmatch(_PORT_NAME, port):
        raise ValueError(f"{port!r} is not a port number or a port name")
    return port


_Path = Annotated[str, Field(min_length=1), _matching(r"[^\x00-\x1f\x7f]+", "a path")]
_ValuesPath = Annotated[str, _matching(_VALUES_PATH, "a path into the chart's values, such as image.repository")]


class _Strict(Model):
    model_config = ConfigDict(strict=True)


class Image(_Strict):
    """The image build; ``dockerfile`` is relative to ``context``, ``context`` to the application's folder."""

    context: _Path = "."
    dockerfile: _Path = "Dockerfile"
    target: Annotated[str, _matching(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "a build stage")] | None = None
    args: dict[Annotated[str, _matching(_BUILD_ARG, "a build argument's name")], str] = Field(default_factory=dict)


class Pin(_Strict):
    """The dotted paths of the image in the chart's values; ``tag: null`` for a chart without a tag."""

    repository: _ValuesPath = "image.repository"
    digest: _ValuesPath = "image.digest"
    tag: _ValuesPath | None = "image.tag"


class Probe(_Strict):
    """An HTTP GET through the Service that must succeed before a deploy is done."""

    path: Annotated[str, _matching(_HTTP_PATH, "an absolute URL path")] = "/"
    port: Annotated[int | str, AfterValidator(_port)] = 80


class Application(_Strict):
    """An application as described by its ``kubernaut.yaml``.

    Attributes:
        directory: The application's folder, resolved; not part of the JSON.
    """

    name: Annotated[str, _valid_by(check_name)]
    image: Image = Image()
    chart: _Path
    pin: Pin = Pin()
    environments: dict[Annotated[str, _valid_by(check_namespace)], _Path] = Field(default_factory=dict)
    probe: Probe | None = None
    on_failure: Literal["rollback", "keep"] = "rollback"
    tag_prefix: Annotated[str, _matching(_TAG_PREFIX, "the beginning of a git tag")] = "v"
    directory: Path = Field(default=Path(), exclude=True)

    @property
    def file(self) -> Path:
        """The application's ``kubernaut.yaml``."""
        return self.directory / FILE_NAME

    @property
    def context_path(self) -> Path:
        """The build context, resolved."""
        return (self.directory / self.image.context).resolve()

    @property
    def chart_path(self) -> Path:
        """The chart's folder, resolved."""
        return (self.directory / self.chart).resolve()

    @property
    def environment_paths(self) -> Mapping[str, Path]:
        """The environments' values files, resolved, by environment name in order."""
        return {name: (self.directory / path).resolve() for name, path in sorted(self.environments.items())}


def load_application(directory: Path) -> Application:
    """Read the application in ``directory``.

    Raises:
        ApplicationInvalid: The file is missing or invalid; each problem has its line.
    """
    shown = directory / FILE_NAME
    try:
        document = read_document(shown.read_bytes())
    except FileNotFoundError as error:
        raise ApplicationInvalid(
            f"{FILE_NAME} does not exist in {directory.resolve()}.",
            hint="Copy examples/hello-world/kubernaut.yaml; docs/kubernaut-yaml.md explains each key.",
        ) from error
    except OSError as error:
        raise ApplicationInvalid(f"{shown} cannot be read: {error.strerror}.") from error
    except YamlProblem as error:
        raise ApplicationInvalid(f"{shown}:{error.line}: {error.message}") from error
    problems = [(line, text) for line, text in document.problems]
    application = _validated(document, directory.resolve(), problems)
    if application is not None:
        problems.extend(_path_problems(application, document))
    if application is None or problems:
        raise _invalid(shown, problems)
    return application


def check_dockerfile(application: Application) -> None:
    """Check that the Dockerfile exists inside the build context, links resolved.

    Raises:
        DockerfileInvalid: It does not exist, or is outside the context.
    """
    context = application.context_path
    path = context / application.image.dockerfile
    if not Path(os.path.normpath(path)).is_relative_to(context) or not path.resolve().is_relative_to(context):
        raise DockerfileInvalid(f"The Dockerfile {application.image.dockerfile} is outside the build context {context}.")
    if not path.is_file():
        raise DockerfileInvalid(f"The Dockerfile {application.image.dockerfile} does not exist in the build context {context}.")


def _invalid(shown: Path, problems: list[tuple[int, str]]) -> KubernautError:
    lines = [f"{shown}:{line}: {text}" for line, text in sorted(problems)]
    rest = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return ApplicationInvalid(lines[0] + rest, details=lines if rest else ())


def _validated(document: Document, directory: Path, problems: list[tuple[int, str]]) -> Application | None:
    content = document.content
    if not isinstance(content, dict):
        problems.append((1, f"expected a mapping with the keys name and chart, found {_kind(content)}"))
        return None
    if "directory" in content:
        problems.append((document.line(("directory",)), "unknown key 'directory'"))
        content = {key: value for key, value in content.items() if key != "directory"}
    try:
        return Application.model_validate({**content, "directory": directory}, by_alias=True, by_name=False)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        problems.extend(_problem(document, fault["loc"], fault["type"], fault["msg"], fault["input"]) for fault in faults)
        return None


def _problem(document: Document, loc: tuple[int | str, ...], kind: str, message: str, value: object) -> tuple[int, str]:
    # After the port, pydantic names which of its two types it tried.
    place = loc[:2] if loc[:2] == ("probe", "port") else tuple(part for part in loc if part != "[key]")
    where = ".".join(str(part) for part in place)
    line = document.line(place)
    if kind == "extra_forbidden":
        return line, document.unknown_key(str(place[-1]), _keys_at(place[:-1]), ".".join(str(part) for part in place[:-1]))
    if kind == "missing":
        return line, f"the key {where!r} is missing"
    if kind == "string_type":
        return line, f"{where}: expected text, found {_kind(value)}" + ("" if isinstance(value, dict | list) else "; quote it")
    return line, f"{where}: {message.removeprefix('Value error, ')[:1].lower()}{message.removeprefix('Value error, ')[1:]}"


def _keys_at(place: tuple[int | str, ...]) -> list[str]:
    models: dict[tuple[int | str, ...], type[Model]] = {(): Application, ("image",): Image, ("pin",): Pin, ("probe",): Probe}
    fields = models.get(place, Application).model_fields
    return [field.alias or name for name, field in fields.items() if name != "directory"]


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    return {bool: "a boolean", dict: "a mapping", list: "a list", str: "text"}.get(
        type(value), f"the {type(value).__name__} {value}"
    )


def _path_problems(application: Application, document: Document) -> list[tuple[int, str]]:
    folder = application.directory
    roots = [root for root in (folder, find_work_tree(folder)) if root is not None]
    problems = []

    def check(place: tuple[str, ...], path: str, target: Path, wanted: Callable[[Path], bool], what: str) -> None:
        if not any(target.is_relative_to(root.resolve()) for root in roots):
            text = f"{'.'.join(place)}: {path} is outside the git work tree and the application's folder"
        elif not wanted(target):
            text = f"{'.'.join(place)}: {path} is not {what}"
        else:
            return
        problems.append((document.line(place), text))

    check(("image", "context"), application.image.context, application.context_path, Path.is_dir, "a folder")
    check(
        ("chart",),
        application.chart,
        application.chart_path,
        lambda path: (path / "Chart.yaml").is_file(),
        "a folder with a Chart.yaml",
    )
    for name, path in application.environment_paths.items():
        check(("environments", name), application.environments[name], path, Path.is_file, "a file")
    return problems
