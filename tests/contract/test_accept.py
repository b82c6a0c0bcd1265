"""Several servers on one cluster, in memory and real: an operation is accepted once, begun once and seen by all."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.api_calls import call_api
from support.charts import write_chart
from support.waiting import until

from kubernaut import Kubernaut
from kubernaut.adapters.helm import Helm
from kubernaut.adapters.kube import Cluster
from kubernaut.deploy.operation_writer import OperationWriter
from kubernaut.errors import Conflict, IdempotencyKeyReused, Interrupted, NamespaceNotFound
from kubernaut.events import Journal, Notice
from kubernaut.history.operation_codec import KEY_LABEL, key_label
from kubernaut.history.operations import Operation, Outcome, now
from kubernaut.settings import Settings, load_settings
from kubernaut.testing.cluster import FakeCluster

ROUNDS = 10
CONFIG_MAP = """apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {text: {{ .Values.text | quote }}}
"""
# A hook that takes as long as a test wants: Helm is in the middle of it.
SLOW = """apiVersion: v1
kind: Pod
metadata: {name: slow, annotations: {helm.sh/hook: "pre-upgrade,pre-install", helm.sh/hook-delete-policy: before-hook-creation}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers: [{name: slow, image: {{ .Values.image }}, command: [node, -e, "setTimeout(() => {}, 60000)"]}]
"""


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Run the calls in threads at once; return the result or exception of each."""
    start, answers = threading.Barrier(len(calls)), [None] * len(calls)

    def run(number: int) -> None:
        start.wait()
        try:
            answers[number] = calls[number]()
        except Exception as error:  # noqa: BLE001 - returned to the test
            answers[number] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


class AcceptContract:
    """The contract; a subclass provides ``server``, which starts another server on the cluster."""

    @pytest.fixture
    def server(self, tmp_path: Path) -> Callable[[], Kubernaut]:
        raise NotImplementedError

    @pytest.fixture
    def namespace(self, server: Callable[[], Kubernaut]) -> str:
        name = f"a-{uuid.uuid4().hex[:8]}"
        server().context.clients.cluster.create_namespace(name)
        return name

    def test_concurrent_requests_with_one_key_are_accepted_once(self, server: Callable[[], Kubernaut], namespace: str) -> None:
        servers = [server(), server()]
        for number in range(ROUNDS):
            asked = {"namespace": namespace, "key": f"key {number}", "fingerprint": "f"}
            answers = at_once([lambda one=one, asked=asked: one.accept("deploy", "web", **asked) for one in servers])
            assert sorted(new for _, new in answers) == [False, True]
            (first, _), (second, _) = answers
            assert first == second
            assert servers[number % 2].operation(first.id) == first
        with pytest.raises(IdempotencyKeyReused):
            servers[0].accept("deploy", "web", namespace=namespace, key="key 0", fingerprint="another")

    def test_key_is_reserved_across_namespaces(self, server: Callable[[], Kubernaut], namespace: str) -> None:
        one, other = server(), f"{namespace}-2"
        one.context.clients.cluster.create_namespace(other)
        known, _ = one.accept("deploy", "web", namespace=namespace, key=namespace)
        # Keys of other namespaces are read from the API server's watch cache, which lags a write a little.
        labels = {"owner": "kubernaut", KEY_LABEL: key_label(str(known.key))}
        until(lambda: list(one.context.clients.cluster.list_secrets(None, labels, metadata_only=True, cached=True)))
        with pytest.raises(IdempotencyKeyReused, match=namespace) as caught:
            server().accept("deploy", "web", namespace=other, key=namespace)
        assert caught.value.problem()["operation"] == known.id

    def test_namespace_is_created_only_on_request(self, server: Callable[[], Kubernaut], namespace: str) -> None:
        fresh = f"{namespace}-3"
        with pytest.raises(NamespaceNotFound):
            server().accept("deploy", "web", namespace=fresh)
        assert server().accept("deploy", "web", namespace=fresh, create_namespace=True)[1]

    def begun(self, one: Kubernaut, namespace: str) -> tuple[OperationWriter, Operation, Journal]:
        accepted, _ = one.accept("deploy", "web", namespace=namespace)
        journal = Journal()
        writer = OperationWriter(lambda: one.context.clients.cluster, journal, accepted, every=0.05)
        running = accepted.model_copy(update={"waits_until": None})
        writer.begin(running)
        return writer, running, journal

    def test_operation_begins_once(self, server: Callable[[], Kubernaut], namespace: str) -> None:
        one, other = server(), server()
        accepted, _ = one.accept("deploy", "web", namespace=namespace)
        running = accepted.model_copy(update={"waits_until": None})
        writers = [OperationWriter(lambda by=by: by.context.clients.cluster, Journal(), accepted) for by in (one, other)]
        answers = at_once([lambda writer=writer: writer.begin(running) for writer in writers])
        assert sorted(map(type, answers), key=str) == [type(None), Conflict]
        for writer in writers:
            writer.end_unbegun(Outcome(reason="conflict", message=""))
        assert one.operation(accepted.id).state == "running"

    def test_other_server_sees_events_and_outcome(self, server: Callable[[], Kubernaut], namespace: str) -> None:
        one, other = server(), server()
        writer, running, journal = self.begun(one, namespace)
        for line in ("one", "two"):
            journal(Notice("deploy", line))
            until(lambda line=line: line in [event.text for event in other.operation(running.id).events])
        writer.write(running.model_copy(update={"finished_at": now(), "outcome": Outcome(reason="succeeded", message="")}))
        assert other.operation(running.id).state == "succeeded"
        labels = {"owner": "kubernaut", "kubernaut/outcome": "succeeded"}
        listed = other.context.clients.cluster.list_secrets(namespace, labels, metadata_only=True)
        assert [secret["metadata"]["name"] for secret in listed] == [running.secret]


class TestFakeCluster(AcceptContract):
    @pytest.fixture
    def server(self, tmp_path: Path) -> Callable[[], Kubernaut]:
        cluster = FakeCluster()
        settings = load_settings(environment={"KUBERNAUT_ACTOR": "ada"}, directory=tmp_path)

        def start() -> Kubernaut:
            made = Kubernaut(settings)
            made.context.clients.cluster = cluster
            return made

        return start


@pytest.mark.platform
class TestRealCluster(AcceptContract):
    @pytest.fixture
    def settings(self, platform: Mapping[str, str], tmp_path: Path) -> Settings:
        return load_settings(environment={**os.environ, **platform, "KUBERNAUT_ACTOR": "ada"}, directory=tmp_path)

    @pytest.fixture
    def server(self, settings: Settings) -> Iterator[Callable[[], Kubernaut]]:
        made: list[Kubernaut] = []

        def start() -> Kubernaut:
            made.append(Kubernaut(settings))
            return made[-1]

        yield start
        for one in made:
            one.close()

    @pytest.fixture
    def namespace(self, server: Callable[[], Kubernaut]) -> Iterator[str]:
        cluster, name = server().context.clients.cluster, f"a-{uuid.uuid4().hex[:8]}"
        assert isinstance(cluster, Cluster)
        cluster.create_namespace(name)
        yield name
        for made in (name, f"{name}-2", f"{name}-3"):
            if cluster.namespace_exists(made):
                call_api(cluster, "DELETE", f"/api/v1/namespaces/{made}")

    def push(self, settings: Settings, folder: Path, namespace: str, template: str) -> str:
        """Push a chart; return its reference."""
        registry = f"{settings.require_registry()}/{namespace}"
        values = f"text: a\nimage: {settings.require_registry()}/library/node:22\n"
        chart = write_chart(folder, "cm", version="1.2.3", template=template, values=values)
        helm = Helm(settings.helm, environment=settings.environment, plain_http=settings.uses_plain_http)
        helm.push(helm.package(chart, folder / "out"), registry)
        return f"oci://{registry}/cm:1.2.3"

    def test_chart_reference_is_deployed_and_seen_by_both_servers(
        self, server: Callable[[], Kubernaut], settings: Settings, namespace: str, tmp_path: Path
    ) -> None:
        one, other = server(), server()
        chart = self.push(settings, tmp_path, namespace, CONFIG_MAP)
        bob = one.acting("bob")
        accepted, _ = bob.accept("deploy", "web", namespace=namespace, key="k")
        release = bob.deploy("web", namespace=namespace, chart=chart, operation=accepted).release
        assert release is not None
        assert (release.operation, release.created_by, release.chart.name, release.chart.version) == (
            accepted.id,
            "bob",
            "cm",
            "1.2.3",
        )
        assert release.chart.digest is not None
        assert other.operation(accepted.id).state == "succeeded"
        again, _ = other.accept("deploy", "web", namespace=namespace)
        assert not other.deploy("web", namespace=namespace, chart=chart, operation=again).changed
        assert one.operation(again.id).state == "unchanged"
        deleted, _ = one.accept("delete", "web", namespace=namespace)
        assert one.delete(release.id, operation=deleted, if_match=release.etag).changed
        assert other.operation(deleted.id).state == "succeeded"

    def test_running_helm_is_shown_and_stopped(
        self, server: Callable[[], Kubernaut], settings: Settings, namespace: str, tmp_path: Path
    ) -> None:
        chart, other, stop = self.push(settings, tmp_path, namespace, SLOW), server(), threading.Event()
        one = server().acting("ada", stopped=stop.is_set)
        accepted, _ = one.accept("deploy", "web", namespace=namespace)
        states: list[str] = []

        def stop_in_the_hook() -> None:
            until(lambda: other.context.clients.cluster.list_pods(namespace, {}), seconds=50)
            states.append(other.operation(accepted.id).state)
            stop.set()

        stopper = threading.Thread(target=stop_in_the_hook)
        stopper.start()
        with pytest.raises(Interrupted):
            one.deploy("web", namespace=namespace, chart=chart, operation=accepted, timeout=60)
        stopper.join()
        assert states == ["running"]
        ended = other.operation(accepted.id)
        assert ended.outcome is not None
        assert ended.outcome.reason == "interrupted"
        release = other.show("web", namespace=namespace)
        assert (release.status, release.operation) == ("failed", accepted.id)
