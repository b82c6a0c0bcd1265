"""The steps from a folder to a published version: look up, build, push, package, push the chart.

The registry is asked first; a version that is already published is not built again. Pushing the chart is the commit point: a run
that stops before it leaves no version, and the next run reuses the image. The chart is copied and rendered while the engine builds,
so that an invalid chart stops the build before anything is pushed.
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
from kubernaut.publish.registry import CREATED, REVISION, SOURCE, Registry
from kubernaut.publish.source import Source, read_source
from kubernaut.publish.version import Artefact, PublishedVersion, SourceOfVersion, decide_version, read_git
from kubernaut.settings import Settings

if TYPE_CHECKING:
    from kubernaut.adapters.helm import Helm

OnVersion = Callable[[str, str | None, str | None], None]
"""Called with the version, and with the commit and the repository if git knows them, before anything is built."""

_ALREADY_BUILT = "the image was already built from the same source"
_PUBLISHED_MEANWHILE = "another process published it from the same source meanwhile"


class BuiltImage(Model):
    """An image in the local engine."""

    name: str
    version: str
    ref: str
    id: str
    source_digest: str


@dataclass(frozen=True)
class PublishContext:
    """The clients and settings of build and publish; the engine and Helm are opened when they are first needed.

    Attributes:
        on_version: Called before anything is built.
        while_building: Called while the engine builds, in the thread that has checked the chart.
        on_package: Called with the chart's package, once it is published.
    """

    engine: Callable[[], DockerEngine]
    helm: Callable[[], Helm]
    registry: Registry
    settings: Settings
    progress: Progress
    on_version: OnVersion = lambda _version, _commit, _repository: None
    while_building: Callable[[], None] = lambda: None
    on_package: Callable[[bytes], None] = lambda _package: None


@dataclass(frozen=True)
class _Candidate:
    """The version to publish: its source, its number, and what git knows about it."""

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
    """Stops a build whose chart cannot be published."""


def build_image(
    app_dir: str | Path, *, version: str | None, dry_run: bool, context: PublishContext
) -> tuple[Plan, bool, BuiltImage | None]:
    """Build an application's image without pushing it.

    Args:
        app_dir: The application's folder.
        version: The version; by default counted from git.
        dry_run: Compute the plan and change nothing.
        context: The clients, the settings and the progress listener.

    Returns:
        The plan, whether anything changed, and the image (``None`` on a dry run if it is not built yet).
    """
    candidate = _read(app_dir, version, context)
    check_dockerfile(candidate.application)
    name = candidate.application.name
    repository = name if context.settings.registry is None else context.registry.image_repository(name)
    ref = f"{repository}:{candidate.version}"
    engine = context.engine()
    built = engine.find_image(candidate.labels)
    plan = _plan(candidate, Action(kind="build-image", subject=ref, reason="no image of this source exists yet"))
    if built is None and dry_run:
        _show_planned("build", ref, plan, context)
        return plan, False, None
    image = built or _build(candidate, repository, engine, context)
    result = BuiltImage(name=name, version=candidate.version, ref=ref, id=image, source_digest=candidate.source.digest)
    if built is None:
        return plan, True, result
    with context.progress.step("build", ref) as step:
        if not dry_run:
            engine.tag(built, repository, candidate.version)
        step.unchanged(_ALREADY_BUILT)
    return Plan(reason=f"the image of {candidate.title} was already built from the same source"), False, result


def publish(
    app_dir: str | Path, *, version: str | None, image: str | None, dry_run: bool, context: PublishContext
) -> tuple[Plan, bool, PublishedVersion | None]:
    """Build, push, package and publish a version.

    Args:
        app_dir: The application's folder.
        version: The version; by default counted from git.
        image: A prebuilt image to publish, ``HOST/REPOSITORY@sha256:…``.
        dry_run: Compute the plan and change nothing.
        context: The clients, the settings and the progress listener.

    Returns:
        The plan, whether anything changed, and the version (``None`` on a dry run if it is not published yet).

    Raises:
        VersionConflict: The version exists with other content.
    """
    candidate = _read(app_dir, version, context)
    context.on_version(candidate.version, candidate.facts.get(REVISION), candidate.facts.get(SOURCE))
    registry, name = context.registry, candidate.application.name
    repository = registry.image_repository(name)
    published = registry.find(name, candidate.version)
    prebuilt = None if image is None else registry.check_image(image)
    if published is not None:
        _check_same(candidate, prebuilt, published, registry)
        with context.progress.step("publish", candidate.title) as step:
            step.unchanged("already published from the same source")
        return Plan(reason=f"{candidate.title} is already published from the same source"), False, published
    if prebuilt is None:
        check_dockerfile(candidate.application)
    plan = _publish_plan(candidate, repository, registry, prebuilt)
    if dry_run:
        _show_planned("publish", candidate.title, plan, context)
        return plan, False, None
    return plan, True, _publish(candidate, repository, prebuilt, context)


def preview(
    app_dir: str | Path, *, version: str | None, context: PublishContext
) -> tuple[PublishedVersion, Mapping[str, Mapping[str, Any]]]:
    """Return the version that publishing would make, with its environments' values; its digests are empty."""
    candidate = _read(app_dir, version, context)
    name, registry = candidate.application.name, context.registry
    environments = read_environments(candidate.source)
    intended = PublishedVersion(
        name=name,
        version=candidate.version,
        chart=Artefact(ref=f"{registry.chart_repository(name)}:{candidate.version}", digest=""),
        image=Artefact(ref=f"{registry.image_repository(name)}:{candidate.version}", digest=""),
        source_digest=candidate.source.digest,
        source=SourceOfVersion(commit=candidate.facts.get(REVISION), repository=candidate.facts.get(SOURCE)),
        created_at=candidate.time,
        build=None,
        environments=tuple(environments),
    )
    return intended, environments


def _show_planned(verb: str, subject: str, plan: Plan, context: PublishContext) -> None:
    with context.progress.step(verb, subject) as step:
        step.planned(f"dry run: {plan.summary}")


def _read(app_dir: str | Path, version: str | None, context: PublishContext) -> _Candidate:
    application = load_application(Path(app_dir))
    source = read_source(application)
    git = open_git(application.directory, context.settings.environment)
    state = None if git is None else read_git(git, source)
    name = decide_version(state, application.tag_prefix, source.digest, version)
    facts: dict[str, str] = {}
    time = None
    if state is None and find_work_tree(application.directory) is None:
        commit, repository = ci_source(context.settings.environment)
        facts.update({key: text for key, text in ((REVISION, commit), (SOURCE, repository)) if text})
    if state is not None:
        facts[REVISION] = state.commit + ("-dirty" if state.changed else "")
        if state.repository is not None:
            facts[SOURCE] = state.repository
        if not state.changed:
            time = state.time
            facts[CREATED] = time.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return _Candidate(source, name, facts, time)


def _publish(candidate: _Candidate, repository: str, prebuilt: Artefact | None, context: PublishContext) -> PublishedVersion:
    registry, progress = context.registry, context.progress
    placeholder = prebuilt or _artefact(registry.pull_name(repository), candidate.source.digest)
    with TemporaryDirectory(prefix="kubernaut-") as folder, ThreadPoolExecutor(1, thread_name_prefix="kubernaut-chart") as pool:
        # The image digest is known only after the push; for rendering, any digest will do.
        chart = pool.submit(_checked_chart, candidate, Path(folder), placeholder, context)
        if prebuilt is None:
            pool.submit(context.while_building)
            _build_unless_refused(candidate, repository, chart, context)
            if (found := _published_meanwhile(candidate, context)) is not None:
                return found
        pinned = prebuilt or _push(candidate, repository, context)
        with progress.step("package", candidate.title) as step:
            copy = chart.result()
            copy.pin(*_split(pinned))
            package = copy.package(context.helm())
            step.done(f"{package.name}, with {pinned.ref}")
        return _push_chart(candidate, prebuilt, package, context)


def _checked_chart(candidate: _Candidate, folder: Path, image: Artefact, context: PublishContext) -> ChartCopy:
    facts = {**candidate.facts, **build_annotations(context.settings.build)}
    copy = ChartCopy(candidate.source, folder, version=candidate.version, facts=facts, time=candidate.time)
    copy.pin(*_split(image))
    copy.check(context.helm(), image.ref)
    return copy


def _build_unless_refused(candidate: _Candidate, repository: str, chart: Future[ChartCopy], context: PublishContext) -> None:
    """Build the image, and stop if the chart turns out to be invalid meanwhile."""
    engine = context.engine()
    ref = f"{repository}:{candidate.version}"
    built = engine.find_image(candidate.labels)
    if built is not None:
        with context.progress.step("build", ref) as step:
            engine.tag(built, repository, candidate.version)
            step.unchanged(_ALREADY_BUILT)
    else:
        _build(candidate, repository, engine, context, chart)
    if chart.exception() is not None:
        with context.progress.step("package", candidate.title):
            chart.result()


def _published_meanwhile(candidate: _Candidate, context: PublishContext) -> PublishedVersion | None:
    """Return the version if another process published it during the build; then its image tag is not overwritten."""
    found = context.registry.find(candidate.application.name, candidate.version)
    if found is not None:
        with context.progress.step("publish", candidate.title) as step:
            _check_same(candidate, None, found, context.registry)
            step.unchanged(_PUBLISHED_MEANWHILE)
    return found


def _push(candidate: _Candidate, repository: str, context: PublishContext) -> Artefact:
    ref = f"{repository}:{candidate.version}"
    with context.progress.step("push image", ref) as step:
        credentials = credentials_for(repository, context.settings.docker_config)
        digest = push_image(context.engine(), context.registry, repository, candidate.version, credentials=credentials, step=step)
        step.done(digest)
    return _artefact(context.registry.pull_name(repository), digest)


def _build(
    candidate: _Candidate, repository: str, engine: DockerEngine, context: PublishContext, chart: Future[ChartCopy] | None = None
) -> str:
    tag = f"{repository}:{candidate.version}"
    with context.progress.step("build", tag) as step:

        def log(line: str) -> None:
            step.log(line)
            if chart is not None and chart.done() and chart.exception() is not None:
                raise _ChartRefused

        try:
            image = make_image(engine, candidate.source, tag=tag, labels=candidate.labels, time=candidate.time, log=log)
        except _ChartRefused:
            step.unchanged("stopped, because the chart cannot be published")
            return ""
        step.done(image)
    return image


def _push_chart(candidate: _Candidate, prebuilt: Artefact | None, package: Path, context: PublishContext) -> PublishedVersion:
    registry, name = context.registry, candidate.application.name
    with context.progress.step("push chart", f"{registry.chart_repository(name)}:{candidate.version}") as step:
        found = registry.find(name, candidate.version)
        digest = None
        if found is None:
            digest = context.helm().push(package, context.settings.require_chart_registry())
            found = registry.find(name, candidate.version)
        if found is None:
            raise RegistryUnreachable(f"Pushed {candidate.title}, but {registry.chart_repository(name)} does not report it.")
        _check_same(candidate, prebuilt, found, registry)
        if found.chart.digest == digest:
            context.on_package(package.read_bytes())
            step.done(digest)
        else:
            step.unchanged(_PUBLISHED_MEANWHILE)
        return found


def _check_same(candidate: _Candidate, prebuilt: Artefact | None, found: PublishedVersion, registry: Registry) -> None:
    where = f"{registry.chart_repository(found.name)}:{found.version}"
    if found.source_digest != candidate.source.digest:
        raise VersionConflict(
            f"{candidate.title} is already published with different content: {where} has source {found.source_digest[:19]}…, "
            f"this folder has {candidate.source.digest[:19]}…."
        )
    if prebuilt is not None and found.image.digest != prebuilt.digest:
        raise VersionConflict(f"{candidate.title} is already published with a different image: {where} has {found.image.ref}.")


def _publish_plan(candidate: _Candidate, repository: str, registry: Registry, prebuilt: Artefact | None) -> Plan:
    ref = f"{repository}:{candidate.version}"
    chart = f"{registry.chart_repository(candidate.application.name)}:{candidate.version}"
    images = (
        Action(kind="build-image", subject=ref, reason="the version is not published yet"),
        Action(kind="push-image", subject=ref, reason="the chart refers to it by digest"),
    )
    push = Action(kind="push-chart", subject=chart, reason="this publishes the version")
    return _plan(candidate, *(images if prebuilt is None else ()), push)


def _plan(candidate: _Candidate, *actions: Action) -> Plan:
    return Plan(actions=actions, reason=f"{candidate.title}, source {candidate.source.digest}")


def _artefact(repository: str, digest: str) -> Artefact:
    return Artefact(ref=f"{repository}@{digest}", digest=digest)


def _split(image: Artefact) -> tuple[str, str]:
    return image.ref.partition("@")[0], image.digest
