"""The contract of `Helm`, for the fake in memory and for Helm 3 and Helm 4 on the real cluster."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.charts import CONFIG_MAP, write_chart
from support.helms import AnyHelm, Helm3, Helm4, InMemory, mark
from support.hooked_charts import with_hook

from kubernaut.adapters.helm import Helm
from kubernaut.adapters.kube import Cluster
from kubernaut.adapters.kube_resources import PODS
from kubernaut.errors import (
    ChartInvalid,
    HelmFailed,
    KubernautError,
    NamespaceNotFound,
    ReleaseLocked,
    ReleaseNotFound,
    ValuesInvalid,
)
from kubernaut.history.records import Status
from kubernaut.history.store import HistoryStore

BAD_YAML = CONFIG_MAP + "  : bad\n- x\n"
BAD_TEMPLATE = CONFIG_MAP + "  x: {{ nonsense .Values.text }}\n"


class HelmContract(AnyHelm):
    """The contract."""

    # charts

    def test_chart_is_packaged(self, helm: Helm, tmp_path: Path) -> None:
        package = helm.package(write_chart(tmp_path), tmp_path / "out")
        assert package == tmp_path / "out" / "tiny-0.1.0.tgz"
        assert package.is_file()

    def test_package_is_rendered(self, helm: Helm, tmp_path: Path) -> None:
        package = helm.package(write_chart(tmp_path), tmp_path / "out")
        manifest = helm.template(package, name="app", namespace="ns", values={"text": 'a "b" 😀\u2028'})
        document = yaml.safe_load(manifest)
        assert document["metadata"]["name"] == "app"
        assert document["data"]["text"] == 'a "b" 😀\u2028'

    @pytest.mark.parametrize("broken", ["Chart.yaml", "values.yaml"])
    def test_broken_chart_is_not_packaged(self, helm: Helm, tmp_path: Path, broken: str) -> None:
        chart = write_chart(tmp_path)
        (chart / broken).write_text("a: [\n")
        with pytest.raises(ChartInvalid):
            helm.package(chart, tmp_path)

    def test_folder_without_a_chart_is_refused(self, helm: Helm, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(ChartInvalid):
            helm.package(tmp_path / "empty", tmp_path)
        with pytest.raises(ChartInvalid):
            helm.template(tmp_path / "missing", name="r", namespace="ns", values={})

    @pytest.mark.parametrize("template", [BAD_YAML, BAD_TEMPLATE], ids=["yaml", "template"])
    def test_broken_template_is_named_with_its_line(self, helm: Helm, tmp_path: Path, template: str) -> None:
        with pytest.raises(ChartInvalid, match=r"templates/object\.yaml:[789]"):
            helm.template(write_chart(tmp_path, template=template), name="r", namespace="ns", values={})

    def test_values_are_checked_against_the_schema(self, helm: Helm, tmp_path: Path) -> None:
        chart = write_chart(tmp_path, values_schema_json='{"properties": {"text": {"type": "string"}}}')
        with pytest.raises(ValuesInvalid, match="text"):
            helm.template(chart, name="r", namespace="ns", values={"text": 1})

    # releases

    def test_install_writes_a_record(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        values = {"text": "hi", "none": None, "list": [1, {"a": True}], "emoji": "😀"}
        self.deploy(helm, write_chart(tmp_path), namespace, values=values, description='1.0.0 by ada: "hello"')
        (record,) = self.records(cluster, namespace)
        assert (record.revision, record.status, record.labelled_status) == (1, Status.DEPLOYED, Status.DEPLOYED)
        assert not record.damaged
        assert record.labelled_status == record.status
        assert record.config == values
        assert record.defaults == {"text": "hello"}
        assert record.chart["version"] == "0.1.0"
        assert record.description == '1.0.0 by ada: "hello"'
        assert record.labels["kubernaut/operation"] == "one"
        assert "kind: ConfigMap" in record.manifest
        assert record.deleted_at is None
        assert record.deployed_at

    @pytest.mark.parametrize("command", ["install", "upgrade", "install-replace"])
    def test_render_returns_the_release_and_writes_nothing(
        self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path, command: str
    ) -> None:
        chart = write_chart(tmp_path)
        if command != "install":
            self.deploy(helm, chart, namespace)
        if command == "install-replace":
            helm.uninstall("r", namespace=namespace, description="", timeout=30, log=print)
        before = [record.etag for record in self.records(cluster, namespace)]
        how: dict[str, Any] = {"namespace": namespace, "skip_crds": False, "log": print}
        release = helm.render("r", str(chart), command=command, values={"text": "hi 😀"}, **how)
        assert 'text: "hi 😀"' in release["manifest"]
        assert release["chart"]["metadata"]["version"] == "0.1.0"
        assert not release.get("hooks")
        assert [record.etag for record in self.records(cluster, namespace)] == before

    def test_render_refuses_what_cannot_be_rendered(self, helm: Helm, namespace: str, tmp_path: Path) -> None:
        chart = write_chart(tmp_path, template=BAD_TEMPLATE)
        how: dict[str, Any] = {"namespace": namespace, "skip_crds": False, "log": print}
        with pytest.raises(ChartInvalid):
            helm.render("r", str(chart), command="install", values={}, **how)

    def test_upgrade_supersedes(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        chart = write_chart(tmp_path)
        self.deploy(helm, chart, namespace, labels={"kubernaut/operation": "one", "kubernaut/revision": "1"})
        self.deploy(helm, chart, namespace, labels={"kubernaut/operation": "two"}, values={"text": "b"})
        new, old = self.records(cluster, namespace)
        assert [new.status, old.status] == [Status.DEPLOYED, Status.SUPERSEDED]
        assert [new.revision, old.revision] == [2, 1]
        assert new.labels["kubernaut/operation"] == "two"
        assert new.labels["kubernaut/revision"] == "1"  # carried over: why it is compared with Helm's own

    def test_upgrade_without_values_resets_them(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        chart = write_chart(tmp_path)
        self.deploy(helm, chart, namespace, values={"text": "seven"})
        self.deploy(helm, chart, namespace, values={})
        assert self.records(cluster, namespace)[0].config == {}

    def test_rollback_copies_values_and_labels_of_the_target(
        self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path
    ) -> None:
        chart = write_chart(tmp_path)
        self.deploy(helm, chart, namespace, values={"text": "a"})
        self.deploy(helm, chart, namespace, values={"text": "b"}, labels={"kubernaut/operation": "two"})
        helm.rollback("r", 1, namespace=namespace, timeout=30, history_max=50, log=print)
        new, *_ = self.records(cluster, namespace)
        assert (new.revision, new.status, new.description) == (3, Status.DEPLOYED, "Rollback to 1")
        assert new.config == {"text": "a"}
        assert new.labels["kubernaut/operation"] == "one"

    def test_rollback_to_a_missing_revision(self, helm: Helm, namespace: str, tmp_path: Path) -> None:
        with pytest.raises(ReleaseNotFound):
            helm.rollback("r", 1, namespace=namespace, timeout=30, history_max=50, log=print)
        self.deploy(helm, write_chart(tmp_path), namespace)
        with pytest.raises(ReleaseNotFound):
            helm.rollback("r", 7, namespace=namespace, timeout=30, history_max=50, log=print)

    def test_uninstall_keeps_the_history(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        self.deploy(helm, write_chart(tmp_path), namespace)
        for _ in range(2):  # repeating it is not an error
            helm.uninstall("r", namespace=namespace, description="Deleted by ada", timeout=30, log=print)
        (record,) = self.records(cluster, namespace)
        assert record.status == Status.UNINSTALLED
        assert record.description == "Deleted by ada"
        assert record.deleted_at
        with pytest.raises(ReleaseNotFound):
            helm.uninstall("none", namespace=namespace, description="", timeout=30, log=print)

    def test_rollback_restores_a_deleted_release(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        self.deploy(helm, write_chart(tmp_path), namespace, values={"text": "a"})
        helm.uninstall("r", namespace=namespace, description="", timeout=30, log=print)
        helm.rollback("r", 1, namespace=namespace, timeout=30, history_max=50, log=print)
        new, _ = self.records(cluster, namespace)
        assert (new.revision, new.status, new.config) == (2, Status.DEPLOYED, {"text": "a"})

    def test_deleted_release_with_ten_revisions_needs_replace(
        self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path
    ) -> None:
        chart = write_chart(tmp_path)
        for number in range(10):
            self.deploy(helm, chart, namespace, values={"text": str(number)})
        helm.uninstall("r", namespace=namespace, description="", timeout=30, log=print)
        with pytest.raises(ReleaseNotFound, match="has no deployed releases"):  # Helm's own bug, which is why plan.py looks first
            self.deploy(helm, chart, namespace)
        self.deploy(helm, chart, namespace, replace=True, description="again")
        new, tombstone, *rest = self.records(cluster, namespace)
        assert (new.revision, new.status, new.description) == (11, Status.DEPLOYED, "again")
        assert tombstone.status == Status.SUPERSEDED
        assert tombstone.deleted_at  # stays, although the status is superseded
        assert len(rest) == 9

    def test_history_is_pruned(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        chart = write_chart(tmp_path)
        for number in range(5):
            self.deploy(helm, chart, namespace, values={"text": str(number)}, history_max=3)
        assert [record.revision for record in self.records(cluster, namespace)] == [5, 4, 3]

    def test_pending_record_locks(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        chart = write_chart(tmp_path)
        self.deploy(helm, chart, namespace)
        self.deploy(helm, chart, namespace, values={"text": "b"})
        mark(cluster, self.records(cluster, namespace)[0], Status.PENDING_UPGRADE)
        mark(cluster, self.records(cluster, namespace)[1], Status.DEPLOYED)
        with pytest.raises(ReleaseLocked):
            self.deploy(helm, chart, namespace)
        helm.rollback("r", 1, namespace=namespace, timeout=30, history_max=50, log=print)  # plain Helm's way out
        assert [record.status for record in self.records(cluster, namespace)] == [
            Status.DEPLOYED,
            Status.PENDING_UPGRADE,
            Status.SUPERSEDED,
        ]

    def test_unfinished_install_is_deleted_and_replaced(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        chart = write_chart(tmp_path)
        self.deploy(helm, chart, namespace)
        mark(cluster, self.records(cluster, namespace)[0], Status.PENDING_INSTALL)
        with pytest.raises(ReleaseLocked):
            self.deploy(helm, chart, namespace)
        helm.uninstall("r", namespace=namespace, description="", timeout=30, log=print)
        self.deploy(helm, chart, namespace, replace=True)
        assert [record.status for record in self.records(cluster, namespace)] == [Status.DEPLOYED, Status.SUPERSEDED]

    def test_unfinished_delete_is_finished_by_another(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        self.deploy(helm, write_chart(tmp_path), namespace)
        mark(cluster, self.records(cluster, namespace)[0], Status.UNINSTALLING)
        with pytest.raises(ReleaseNotFound, match="has no deployed releases"):
            self.deploy(helm, tmp_path / "tiny", namespace)
        helm.uninstall("r", namespace=namespace, description="", timeout=30, log=print)
        assert self.records(cluster, namespace)[0].status == Status.UNINSTALLED

    def test_failed_install_is_upgraded(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        chart = write_chart(tmp_path)
        self.deploy(helm, chart, namespace)
        mark(cluster, self.records(cluster, namespace)[0], Status.FAILED)
        self.deploy(helm, chart, namespace)
        assert [record.status for record in self.records(cluster, namespace)] == [Status.DEPLOYED, Status.SUPERSEDED]

    @pytest.mark.parametrize(("wrong", "error"), [("yaml", ChartInvalid), ("template", ChartInvalid), ("schema", ValuesInvalid)])
    def test_unrenderable_chart_leaves_no_record(
        self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path, wrong: str, error: type[KubernautError]
    ) -> None:
        schema = '{"properties": {"text": {"type": "integer"}}}' if wrong == "schema" else "{}"
        template = {"yaml": BAD_YAML, "template": BAD_TEMPLATE}.get(wrong, CONFIG_MAP)
        with pytest.raises(error):
            self.deploy(helm, write_chart(tmp_path, template=template, values_schema_json=schema), namespace)
        assert self.records(cluster, namespace) == ()

    # hooks

    def test_hooks_are_in_the_record_and_not_in_the_manifest(
        self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path, image: str
    ) -> None:
        chart = write_chart(tmp_path, template=with_hook("pre-upgrade,pre-delete", name="step", image=image))
        assert "kind: Pod" not in helm.template(chart, name="r", namespace=namespace, values={})
        self.deploy(helm, chart, namespace)
        (record,) = self.records(cluster, namespace)
        assert "kind: Pod" not in record.manifest
        (hook,) = record.content["hooks"]
        assert (hook["name"], hook["events"]) == ("step", ["pre-upgrade", "pre-delete"])
        assert "kind: Pod" in hook["manifest"]

    @pytest.mark.parametrize("event", ["pre-install", "pre-upgrade", "post-upgrade"])
    def test_deploy_fails_with_its_hook(
        self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path, image: str, event: str
    ) -> None:
        if event.endswith("upgrade"):
            self.deploy(helm, write_chart(tmp_path), namespace)
        chart = write_chart(tmp_path, template=with_hook(event, image=image))
        with pytest.raises(HelmFailed, match=event):
            self.deploy(helm, chart, namespace)
        assert self.records(cluster, namespace)[0].status == Status.FAILED
        assert cluster.get_object(PODS, namespace, event) is not None, "it stays for inspection"
        self.deploy(helm, chart, namespace, no_hooks=True)
        assert self.records(cluster, namespace)[0].status == Status.DEPLOYED

    def test_install_after_a_delete_leaves_hooks_out(
        self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path, image: str
    ) -> None:
        self.deploy(helm, write_chart(tmp_path), namespace)
        helm.uninstall("r", namespace=namespace, description="", timeout=30, log=print)
        self.deploy(
            helm, write_chart(tmp_path, template=with_hook("pre-install", image=image)), namespace, replace=True, no_hooks=True
        )
        assert [record.status for record in self.records(cluster, namespace)] == [Status.DEPLOYED, Status.SUPERSEDED]

    def test_uninstall_fails_with_its_hook(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path, image: str) -> None:
        self.deploy(helm, write_chart(tmp_path, template=with_hook("pre-delete", image=image)), namespace)
        for _ in range(2):
            with pytest.raises(HelmFailed, match="pre-delete"):
                helm.uninstall("r", namespace=namespace, description="", timeout=30, log=print)
            assert self.records(cluster, namespace)[0].status == Status.UNINSTALLING
        helm.uninstall("r", namespace=namespace, description="", timeout=30, no_hooks=True, log=print)
        assert self.records(cluster, namespace)[0].status == Status.UNINSTALLED

    def test_rollback_fails_with_its_hook(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path, image: str) -> None:
        self.deploy(helm, write_chart(tmp_path, template=with_hook("pre-rollback", image=image)), namespace)
        self.deploy(helm, write_chart(tmp_path), namespace)
        how: dict[str, Any] = {"namespace": namespace, "timeout": 30, "history_max": 50, "log": print}
        with pytest.raises(HelmFailed, match="pre-rollback"):
            helm.rollback("r", 1, **how)
        assert self.records(cluster, namespace)[0].status == Status.PENDING_ROLLBACK
        helm.rollback("r", 1, no_hooks=True, **how)
        assert self.records(cluster, namespace)[0].status == Status.DEPLOYED

    def test_hook_is_removed_as_its_policy_says(
        self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path, image: str
    ) -> None:
        for policy, command, stays in (
            ("hook-succeeded", "exit 0", False),
            ("hook-succeeded", "exit 1", True),
            ("hook-failed", "exit 1", False),
        ):
            name = f"{policy}-{command[-1]}"
            hooked = with_hook("pre-install,pre-upgrade", name=name, command=command, policy=policy, image=image)
            with suppress(HelmFailed):
                self.deploy(helm, write_chart(tmp_path, template=hooked), namespace)
            assert (cluster.get_object(PODS, namespace, name) is not None) is stays, name

    def test_release_needs_a_namespace(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        chart = write_chart(tmp_path)
        with pytest.raises(NamespaceNotFound):
            self.deploy(helm, chart, f"{namespace}-not")

    def test_foreign_names_may_contain_dots(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        helm.upgrade(
            "my.app.v2",
            str(write_chart(tmp_path)),
            namespace=namespace,
            values={},
            labels={},
            description="d",
            timeout=30,
            history_max=5,
            install=True,
            log=print,
        )
        (release,) = HistoryStore(cluster).releases(namespace, "my.app.v2").items
        assert (release.id, release.managed_by, release.created_by) == (f"{namespace}.my.app.v2.v1", "helm", None)


class TestFakeHelm(InMemory, HelmContract):
    pass


class _RealHelm(HelmContract):
    def test_pushed_chart_is_deployed_by_digest(
        self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path, platform: Mapping[str, str]
    ) -> None:
        registry = f"{platform['KUBERNAUT_REGISTRY']}/{uuid.uuid4().hex[:8]}"
        digest = helm.push(helm.package(write_chart(tmp_path), tmp_path), registry)
        self.deploy(helm, f"oci://{registry}/tiny@{digest}", namespace)  # type: ignore[arg-type]
        assert self.records(cluster, namespace)[0].status == Status.DEPLOYED


@pytest.mark.platform
class TestHelm3(Helm3, _RealHelm):
    def test_version_is_3(self, helm: Helm) -> None:
        assert helm.version().startswith("3.")


@pytest.mark.platform
class TestHelm4(Helm4, _RealHelm):
    def test_version_is_4(self, helm: Helm) -> None:
        assert helm.version().startswith("4.")
