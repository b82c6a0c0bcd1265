"""The whole way from a folder to a published version, in order: ask, build, push, package, publish.

The registry is asked first, and what is published already is not built again. Pushing the chart is the commit point: whatever stops
the way before it leaves no version, and the next run continues with the image that is already there. While the engine builds, the
chart is copied and rendered, so that a chart which cannot be published stops the build before anything was pushed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from kubernaut.adapters.docker import DockerEngine, credentials_for
from kubernaut.adapters.git import find_work_tree, open_git
from kubernaut.ci import build_annotations, ci_source
from kubernaut.errors import RegistryUnreachable, VersionConflict
from kubernaut.events import Progress
from kubernaut.models import Action, Model, Plan
from kubernaut.publish.application import Application, check_dockerfile, load_application
from kubernaut.publish.chart import ChartCopy, read_environments
from kubernaut.publish.image import image_labels, make_image, push_image
from kubernaut.publish.registry import CREATED, REVISION, SOURCE, Artefact, PublishedVersion, Registry, SourceOfVersion
from kubernaut.publish.source import Source, read_source
from kubernaut.publish.version import decide_version, read_git
from kubernaut.settings import Settings

if TYPE_CHECKING:
    from kubernaut.adapters.helm import Helm

IndexState = Callable[[str, str | None, str | None], None]
"""Is told the version that is made, and the commit and the repository that it is made of, as far as git knows them."""

_BY_OTHERS = "somebody else published it meanwhile, from the same source"


class BuiltImage(Model):
    """An image in the local engine."""

    name: str
    version: str
    ref: str
    id: str
    source_digest: str


@dataclass(frozen=True)
class Tools:
    """What building and publishing needs; engine and Helm are opened only when there is work for them."""

    engine: Callable[[], DockerEngine]
    helm: Callable[[], Helm]
    registry: Registry
    settings: Settings
    progress: Progress
    known: IndexState = lambda _version, _commit, _repository: None


@dataclass(frozen=True)
class _Wanted:
    """The version that the folder makes: its source, its name, and what git knows of it."""

    source: Source
    version: str
    facts: dict[str, str]
    time: datetime | None

    @property
    def application(self) -> Application:
        return self.source.application

    @property
    def title(self) -> str:
        return f"{self.application.name} {self.version}"

    @property
    def labels(self) -> dict[str, str]:
        return image_labels(self.source, self.version, self.facts)


class _ChartRefused(Exception):
    """Ends a build whose chart cannot be published."""


def build_image(app_dir: str | Path, *, version: str | None, dry_run: bool, tools: Tools) -> tuple[Plan, bool, BuiltImage | None]:
    """Build an application's image, and push nothing.

    Args:
        app_dir: The application's folder.
        version: The version's name; from git by default.
        dry_run: Only look whether there is something to do.
        tools: The engine, the settings, who is told of the steps.

    Returns:
        The plan, whether anything changed, and the image (``None`` on a dry run of one that is not built).
    """
    wanted = _read(app_dir, version, tools)
    check_dockerfile(wanted.application)
    name = wanted.application.name
    repository = name if tools.settings.registry is None else tools.registry.image_repository(name)
    ref = f"{repository}:{wanted.version}"
    engine = tools.engine()
    built = engine.find_image(wanted.labels)
    if built is None and dry_run:
        plan = _plan(wanted, Action(kind="build-image", subject=ref, reason="no image was built from this source yet"))
        _show_planned("build", ref, plan, tools)
        return plan, False, None
    image = built or _build(wanted, repository, engine, tools)
    result = BuiltImage(name=name, version=wanted.version, ref=ref, id=image, source_digest=wanted.source.digest)
    if built is None:
        return (
            _plan(wanted, Action(kind="build-image", subject=ref, reason="no image was built from this source yet")),
            True,
            result,
        )
    with tools.progress.step("build", ref) as step:
        if not dry_run:
            engine.tag(built, repository, wanted.version)
        step.unchanged("built before from the same source")
    return Plan(reason=f"the image of {wanted.title} was built before from the same source"), False, result


def publish(
    app_dir: str | Path, *, version: str | None, image: str | None, dry_run: bool, tools: Tools
) -> tuple[Plan, bool, PublishedVersion | None]:
    """Build, push, package and publish a version.

    Args:
        app_dir: The application's folder.
        version: The version's name; from git by default.
        image: An image that was built elsewhere, ``HOST/REPOSITORY@sha256:…``, instead of building one.
        dry_run: Only look whether there is something to do.
        tools: The engine, Helm, the registry, the settings, who is told of the steps.

    Returns:
        The plan, whether anything changed, and the version (``None`` on a dry run of one that is not published).

    Raises:
        VersionConflict: The version exists with other content.
    """
    wanted = _read(app_dir, version, tools)
    tools.known(wanted.version, wanted.facts.get(REVISION), wanted.facts.get(SOURCE))
    registry, name = tools.registry, wanted.application.name
    repository = registry.image_repository(name)
    published = registry.find(name, wanted.version)
    given = None if image is None else registry.check_image(image)
    if published is not None:
        _same_or_conflict(wanted, given, published, registry)
        with tools.progress.step("publish", wanted.title) as step:
            step.unchanged("published before from the same source")
        return Plan(reason=f"{wanted.title} is published, from the same source"), False, published
    if given is None:
        check_dockerfile(wanted.application)
    plan = _publish_plan(wanted, repository, registry, given)
    if dry_run:
        _show_planned("publish", wanted.title, plan, tools)
        return plan, False, None
    return plan, True, _publish(wanted, repository, given, tools)


def preview(app_dir: str | Path, *, version: str | None, tools: Tools) -> tuple[PublishedVersion, Mapping[str, Mapping[str, Any]]]:
    """Return a version as publishing would make it, with its environments' values; its digests are not known yet, and empty."""
    wanted = _read(app_dir, version, tools)
    name, registry = wanted.application.name, tools.registry
    environments = read_environments(wanted.source)
    intended = PublishedVersion(
        name=name,
        version=wanted.version,
        chart=Artefact(ref=f"{registry.chart_repository(name)}:{wanted.version}", digest=""),
        image=Artefact(ref=f"{registry.image_repository(name)}:{wanted.version}", digest=""),
        source_digest=wanted.source.digest,
        source=SourceOfVersion(commit=wanted.facts.get(REVISION), repository=wanted.facts.get(SOURCE)),
        created_at=wanted.time,
        build=None,
        environments=tuple(environments),
    )
    return intended, environments


def _show_planned(verb: str, subject: str, plan: Plan, tools: Tools) -> None:
    with tools.progress.step(verb, subject) as step:
        step.planned(f"dry run: {plan.summary}")


def _read(app_dir: str | Path, version: str | None, tools: Tools) -> _Wanted:
    application = load_application(Path(app_dir))
    source = read_source(application)
    git = open_git(application.directory, tools.settings.environment)
    state = None if git is None else read_git(git, source)
    name = decide_version(state, application.tag_prefix, source.digest, version)
    facts: dict[str, str] = {}
    time = None
    if state is None and find_work_tree(application.directory) is None:
        facts.update(_exported_from(tools.settings.environment))
    if state is not None:
        facts[REVISION] = state.commit + ("-dirty" if state.changed else "")
        if state.repository is not None:
            facts[SOURCE] = state.repository
        if not state.changed:
            time = state.time
            facts[CREATED] = time.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return _Wanted(source, name, facts, time)


def _exported_from(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a CI build knows of a source that it has exported: git is not asked where there is no work tree."""
    commit, repository = ci_source(environment)
    return {key: text for key, text in ((REVISION, commit), (SOURCE, repository)) if text}


def _publish(wanted: _Wanted, repository: str, given: Artefact | None, tools: Tools) -> PublishedVersion:
    registry, progress = tools.registry, tools.progress
    stand_in = given or _artefact(registry.pull_name(repository), wanted.source.digest)
    with TemporaryDirectory(prefix="kubernaut-") as folder, ThreadPoolExecutor(1, thread_name_prefix="kubernaut-chart") as pool:
        # The image's digest is known only after its push. Another digest in its place renders the same.
        chart = pool.submit(_checked_chart, wanted, Path(folder), stand_in, tools)
        if given is None:
            _make(wanted, repository, chart, tools)
            if (found := _published_meanwhile(wanted, tools)) is not None:
                return found
        pinned = given or _push(wanted, repository, tools)
        with progress.step("package", wanted.title) as step:
            copy = chart.result()
            copy.pin(*_split(pinned))
            package = copy.package(tools.helm())
            step.done(f"{package.name}, with {pinned.ref}")
        return _push_chart(wanted, given, package, tools)


def _checked_chart(wanted: _Wanted, folder: Path, image: Artefact, tools: Tools) -> ChartCopy:
    facts = {**wanted.facts, **build_annotations(tools.settings.build)}
    copy = ChartCopy(wanted.source, folder, version=wanted.version, facts=facts, time=wanted.time)
    copy.pin(*_split(image))
    copy.check(tools.helm(), image.ref)
    return copy


def _make(wanted: _Wanted, repository: str, chart: Future[ChartCopy], tools: Tools) -> None:
    """Build the image, unless the chart turns out to be wrong meanwhile."""
    engine = tools.engine()
    ref = f"{repository}:{wanted.version}"
    built = engine.find_image(wanted.labels)
    if built is not None:
        with tools.progress.step("build", ref) as step:
            engine.tag(built, repository, wanted.version)
            step.unchanged("built before from the same source")
    else:
        _build(wanted, repository, engine, tools, chart)
    if chart.exception() is not None:
        with tools.progress.step("package", wanted.title):
            chart.result()


def _published_meanwhile(wanted: _Wanted, tools: Tools) -> PublishedVersion | None:
    """Return the version if another publisher was faster while the engine built: the image's tag is theirs then, and stays so."""
    found = tools.registry.find(wanted.application.name, wanted.version)
    if found is not None:
        with tools.progress.step("publish", wanted.title) as step:
            _same_or_conflict(wanted, None, found, tools.registry)
            step.unchanged(_BY_OTHERS)
    return found


def _push(wanted: _Wanted, repository: str, tools: Tools) -> Artefact:
    ref = f"{repository}:{wanted.version}"
    with tools.progress.step("push image", ref) as step:
        credentials = credentials_for(repository, tools.settings.docker_config)
        digest = push_image(tools.engine(), tools.registry, repository, wanted.version, credentials=credentials, step=step)
        step.done(digest)
    return _artefact(tools.registry.pull_name(repository), digest)


def _build(wanted: _Wanted, repository: str, engine: DockerEngine, tools: Tools, chart: Future[ChartCopy] | None = None) -> str:
    tag = f"{repository}:{wanted.version}"
    with tools.progress.step("build", tag) as step:

        def log(line: str) -> None:
            step.log(line)
            if chart is not None and chart.done() and chart.exception() is not None:
                raise _ChartRefused

        try:
            image = make_image(engine, wanted.source, tag=tag, labels=wanted.labels, time=wanted.time, log=log)
        except _ChartRefused:
            step.unchanged("stopped: the chart cannot be published")
            return ""
        step.done(image)
    return image


def _push_chart(wanted: _Wanted, given: Artefact | None, package: Path, tools: Tools) -> PublishedVersion:
    registry, name = tools.registry, wanted.application.name
    with tools.progress.step("push chart", f"{registry.chart_repository(name)}:{wanted.version}") as step:
        found = registry.find(name, wanted.version)
        digest = None
        if found is None:
            digest = tools.helm().push(package, tools.settings.require_chart_registry())
            found = registry.find(name, wanted.version)
        if found is None:
            raise RegistryUnreachable(f"{wanted.title} was pushed, and {registry.chart_repository(name)} does not have it.")
        _same_or_conflict(wanted, given, found, registry)
        if found.chart.digest == digest:
            step.done(digest)
        else:
            step.unchanged(_BY_OTHERS)
        return found


def _same_or_conflict(wanted: _Wanted, given: Artefact | None, found: PublishedVersion, registry: Registry) -> None:
    where = f"{registry.chart_repository(found.name)}:{found.version}"
    if found.source_digest != wanted.source.digest:
        raise VersionConflict(
            f"{wanted.title} is published with other content ({where}, source {found.source_digest[:19]}…; this folder has "
            f"{wanted.source.digest[:19]}…)."
        )
    if given is not None and found.image.digest != given.digest:
        raise VersionConflict(f"{wanted.title} is published with another image, {found.image.ref} ({where}).")


def _publish_plan(wanted: _Wanted, repository: str, registry: Registry, given: Artefact | None) -> Plan:
    ref = f"{repository}:{wanted.version}"
    chart = f"{registry.chart_repository(wanted.application.name)}:{wanted.version}"
    images = (
        Action(kind="build-image", subject=ref, reason="the version is not published yet"),
        Action(kind="push-image", subject=ref, reason="the chart names it by its digest"),
    )
    push = Action(kind="push-chart", subject=chart, reason="this makes it a version")
    return _plan(wanted, *(images if given is None else ()), push)


def _plan(wanted: _Wanted, *actions: Action) -> Plan:
    return Plan(actions=actions, reason=f"{wanted.title}, source {wanted.source.digest}")


def _artefact(repository: str, digest: str) -> Artefact:
    return Artefact(ref=f"{repository}@{digest}", digest=digest)


def _split(image: Artefact) -> tuple[str, str]:
    return image.ref.partition("@")[0], image.digest
