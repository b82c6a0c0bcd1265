"""What becomes of each flag of ``helm install``, ``upgrade``, ``rollback`` and ``uninstall``, of Helm 3 and Helm 4.

``helm_options`` gives the commands their hidden options from it; docs/coming-from-helm.md is generated from it, and a test
compares it with both Helms' ``--help``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

HELM_COMMANDS = {
    "install": ("deploy", "ship"),
    "upgrade": ("deploy", "ship"),
    "rollback": ("rollback", "restore"),
    "uninstall": ("delete",),
}
"""The commands of kubernaut that do the work of a command of Helm."""

Fate = Literal["same", "accepted", "refused"]

_INSTALL = ("install", "upgrade")
_ROLLBACK = ("rollback",)
_UNINSTALL = ("uninstall",)
_CHANGE = (*_INSTALL, *_ROLLBACK)
_ALL = (*_CHANGE, *_UNINSTALL)


@dataclass(frozen=True)
class HelmFlag:
    """What becomes of a flag of Helm.

    Attributes:
        names: The flag, and its other names.
        commands: Helm's commands that have it.
        fate: ``same``: kubernaut has the same option; ``accepted``: it always does that; ``refused``.
        why: Why, as a clause; of a ``same`` option what differs, if anything does.
        instead: What to do instead, as a sentence or two; NAME and NAMESPACE stand for the release's.
        takes_value: Whether the flag has a value.
        stands_for: Of an ``accepted`` one, the option that makes kubernaut do that also where a chart says otherwise.
    """

    names: tuple[str, ...]
    commands: tuple[str, ...]
    fate: Fate
    why: str = ""
    instead: str = ""
    takes_value: bool = False
    stands_for: str = ""

    @property
    def name(self) -> str:
        """The flag."""
        return self.names[0]


def _same(names: str, commands: Sequence[str], why: str = "", *, takes_value: bool = True) -> HelmFlag:
    return HelmFlag(tuple(names.split()), tuple(commands), "same", why, takes_value=takes_value)


def _accepted(names: str, commands: Sequence[str], why: str, *, stands_for: str = "") -> HelmFlag:
    return HelmFlag(tuple(names.split()), tuple(commands), "accepted", why, stands_for=stands_for)


def _refused(names: str, commands: Sequence[str], why: str, instead: str, *, takes_value: bool = False) -> HelmFlag:
    return HelmFlag(tuple(names.split()), tuple(commands), "refused", why, instead, takes_value)


_LOGIN = "`docker login REGISTRY` stores credentials where kubernaut and Helm read them (DOCKER_CONFIG)."
_KUBECONFIG = "Set it in the kubeconfig, and choose that with --kubeconfig FILE or --context CONTEXT."
_REPLACE = "it deletes and creates objects anew, so that the application stops meanwhile"
_REPLACE_INSTEAD = "To replace one object: `kubectl delete KIND/OBJECT -n NAMESPACE`, then deploy again."
_CERTIFICATES = "SSL_CERT_FILE names the file with the certificate authorities to trust, for kubernaut and Helm."

FLAGS = (
    # values
    _same("--values -f", _INSTALL, "a file, also `-` for standard input; a URL is not read"),
    _same("--set", _INSTALL),
    _same("--set-string", _INSTALL),
    _same("--set-json", _INSTALL, "the JSON object form of Helm 4 also with Helm 3"),
    _same("--set-file", _INSTALL, "the file must be UTF-8"),
    _same("--set-literal", _INSTALL),
    _accepted("--reset-values", ("upgrade",), "each deploy starts from the chart's defaults; its values are the whole request"),
    _same(
        "--reuse-values",
        ("upgrade",),
        "over the defaults of the new chart, as Helm does with --reset-then-reuse-values",
        takes_value=False,
    ),
    _same("--reset-then-reuse-values", ("upgrade",), "another name of --reuse-values", takes_value=False),
    _refused(
        "--skip-schema-validation",
        _INSTALL,
        "values that violate the chart's schema are an error",
        "Correct the values, or values.schema.json in the chart.",
    ),
    # the chart
    _refused(
        "--version",
        _INSTALL,
        "the version follows the name, of an application or in the reference of a chart",
        "Deploy NAME@VERSION: `kubernaut deploy NAME@VERSION -n NAMESPACE`; `kubernaut versions NAME` lists the versions.",
        takes_value=True,
    ),
    _refused("--devel", _INSTALL, "--pre does that", "Use --pre: without a version it allows pre-releases."),
    _refused(
        "--repo",
        _INSTALL,
        "the reference of a chart names its repository",
        "Name both: `kubernaut deploy NAME --chart https://REPOSITORY/CHART@VERSION -n NAMESPACE`.",
        takes_value=True,
    ),
    _refused(
        "--dependency-update",
        _INSTALL,
        "a published chart contains its dependencies",
        "Run `helm dependency update CHART` in the source folder, then publish.",
    ),
    _refused(
        "--verify",
        _INSTALL,
        "a chart is deployed by its digest, so its content is known",
        "Verify the package before it is pushed: `helm verify CHART-VERSION.tgz`.",
    ),
    _refused(
        "--keyring", _INSTALL, "it is for --verify only", "`helm verify CHART-VERSION.tgz` checks a package.", takes_value=True
    ),
    _refused("--username", _INSTALL, "credentials do not belong on a command line", _LOGIN, takes_value=True),
    _refused("--password", _INSTALL, "credentials do not belong on a command line", _LOGIN, takes_value=True),
    _refused("--pass-credentials", _INSTALL, "credentials are sent to their own registry only", _LOGIN),
    _refused("--registry-config", _ALL, "Docker's config.json has the credentials", _LOGIN, takes_value=True),
    _refused("--ca-file", _INSTALL, "certificates are set in the environment", _CERTIFICATES, takes_value=True),
    _refused("--cert-file", _INSTALL, "a client certificate for a registry is not supported", _LOGIN, takes_value=True),
    _refused("--key-file", _INSTALL, "a client certificate for a registry is not supported", _LOGIN, takes_value=True),
    _refused("--insecure-skip-tls-verify", _INSTALL, "certificates are always checked", _CERTIFICATES),
    _refused(
        "--plain-http",
        _INSTALL,
        "registries without TLS are a setting",
        "Name the registry in the setting plain_http: `export KUBERNAUT_PLAIN_HTTP=HOST:PORT`.",
    ),
    _refused(
        "--repository-cache",
        _ALL,
        "the names of `helm repo add` are not used: a reference has the URL",
        "HELM_CACHE_HOME moves Helm's caches.",
        takes_value=True,
    ),
    _refused(
        "--repository-config",
        _ALL,
        "the names of `helm repo add` are not used: a reference has the URL",
        "HELM_CONFIG_HOME moves Helm's settings.",
        takes_value=True,
    ),
    _refused("--content-cache", _ALL, "Helm's cache is Helm's own", "HELM_CACHE_HOME moves Helm's caches.", takes_value=True),
    _same("--skip-crds", _INSTALL, takes_value=False),
    _refused(
        "--post-renderer",
        _INSTALL,
        "what runs must follow from the chart and its values alone, so that a rollback restores it",
        "Change the chart's templates, or publish a chart that contains the rendered objects.",
        takes_value=True,
    ),
    _refused(
        "--post-renderer-args",
        _INSTALL,
        "it is for --post-renderer only",
        "Change the chart's templates, or publish a chart that contains the rendered objects.",
        takes_value=True,
    ),
    _refused(
        "--enable-dns",
        _INSTALL,
        "a chart that looks up names renders differently each time",
        "Pass the address as a value: --set KEY=ADDRESS.",
    ),
    _refused(
        "--disable-openapi-validation",
        _INSTALL,
        "an object that violates its schema loses the fields that the cluster does not know",
        "Correct the object in the chart.",
    ),
    # the release
    _accepted("--install -i", ("upgrade",), "a deploy installs the first release of a name, and upgrades after that"),
    _accepted("--replace", ("install",), "a deploy reuses the name of a deleted release, and continues its history"),
    _refused(
        "--generate-name -g",
        ("install",),
        "without its name a release cannot be deployed again",
        "Name the release: `kubernaut deploy NAME -n NAMESPACE`.",
    ),
    _refused(
        "--name-template",
        ("install",),
        "without its name a release cannot be deployed again",
        "Name the release: `kubernaut deploy NAME -n NAMESPACE`.",
        takes_value=True,
    ),
    _same("--create-namespace", _INSTALL, takes_value=False),
    _same("--description", (*_INSTALL, *_UNINSTALL), "another name of --note"),
    _refused(
        "--labels -l",
        _INSTALL,
        "the labels of Helm's record are kubernaut's own",
        "Record the reason with --note TEXT; labels of the application's objects belong in the chart.",
        takes_value=True,
    ),
    _refused(
        "--history-max",
        (*_ROLLBACK, "upgrade"),
        "the length of the history is a setting",
        "Set history_max: `export KUBERNAUT_HISTORY_MAX=100`, or a line in kubernaut.toml.",
        takes_value=True,
    ),
    _accepted("--keep-history", _UNINSTALL, "a delete always keeps the history, for `kubernaut restore`"),
    _refused(
        "--ignore-not-found",
        _UNINSTALL,
        "a name that never existed may be a typing error; a second delete of a release succeeds",
        "In a script, exit status 4 means that it does not exist: `kubernaut delete NAME -n NAMESPACE --yes || [ $? -eq 4 ]`.",
    ),
    _refused(
        "--cascade",
        _UNINSTALL,
        "orphaned objects belong to no release, and no restore adopts them",
        "To keep an object, give it the annotation helm.sh/resource-policy: keep in the chart.",
        takes_value=True,
    ),
    # how it is applied, and what happens when it fails
    _accepted("--wait", _ALL, "every verb waits; a deploy until every object is ready"),
    _accepted("--wait-for-jobs", _CHANGE, "Jobs must complete"),
    _same("--timeout", _ALL, "of the whole operation, not of each step"),
    _refused(
        "--atomic",
        _INSTALL,
        "when the first release of a name fails, it deletes the history, and with it the reason",
        "Leave it out: a failed deploy is rolled back by default (--on-failure rollback).",
    ),
    _refused(
        "--rollback-on-failure",
        _INSTALL,
        "when the first release of a name fails, it deletes the history, and with it the reason",
        "Leave it out: a failed deploy is rolled back by default (--on-failure rollback).",
    ),
    _accepted(
        "--cleanup-on-fail",
        ("upgrade",),
        "as --on-failure rollback: the rollback of a failed deploy deletes what only that deploy created; where there is none, the "
        "next deploy or rollback that succeeds does",
        stands_for="--on-failure=rollback",
    ),
    _refused(
        "--cleanup-on-fail",
        _ROLLBACK,
        "a rollback that fails is kept for inspection",
        "Roll back to another revision, which deletes what is not part of it: `kubernaut rollback NAME -n NAMESPACE --revision N`.",
    ),
    _same("--force", _INSTALL, "another name of --always; it does not delete and create objects anew", takes_value=False),
    _refused("--force", _ROLLBACK, _REPLACE, _REPLACE_INSTEAD),
    _refused("--force-replace", _CHANGE, _REPLACE, _REPLACE_INSTEAD),
    _refused(
        "--recreate-pods",
        _ROLLBACK,
        "it stops all pods at once",
        "Restart them one by one afterwards: `kubectl rollout restart deployment/DEPLOYMENT -n NAMESPACE`.",
    ),
    _same("--force-conflicts", _CHANGE, "another name of --on-conflict take; a rollback does it by default", takes_value=False),
    _refused(
        "--server-side",
        _CHANGE,
        "Helm 4 goes on with the method of the previous revision, Helm 3 has only the other",
        "Leave it out.",
        takes_value=True,
    ),
    _same("--take-ownership", _INSTALL, "also for a rollback; --dry-run lists what is adopted", takes_value=False),
    _same("--no-hooks", _ALL, takes_value=False),
    # output
    _same("--dry-run", _ALL, "reads the cluster, as `--dry-run=server`; `--dry-run=client` is refused", takes_value=False),
    _refused(
        "--dry-run=client",
        _INSTALL,
        "the plan depends on what runs in the cluster",
        "Use --dry-run, which reads the cluster and changes nothing; `helm template CHART` renders without a cluster.",
    ),
    _refused(
        "--wait=hookOnly",
        _ALL,
        "a success is claimed only for what runs",
        "With a server, --no-wait ends the command when the operation is accepted; `kubernaut watch NAME -n NAMESPACE` follows it.",
    ),
    _accepted("--hide-notes", _INSTALL, "a chart's notes are not shown; `helm get notes` shows them"),
    _refused(
        "--render-subchart-notes",
        _INSTALL,
        "a chart's notes are not shown",
        "`helm get notes NAME -n NAMESPACE` shows those of the chart.",
    ),
    _accepted("--hide-secret", _INSTALL, "Secrets are masked in everything that is shown"),
    _same("--output -o", _INSTALL, "`text` and `json`"),
    _refused("--debug", _ALL, "--verbose does that", "Use -v or --verbose."),
    _refused("--color", _ALL, "colours are shown on a terminal", "NO_COLOR=1 turns them off.", takes_value=True),
    _refused("--colour", _ALL, "colours are shown on a terminal", "NO_COLOR=1 turns them off.", takes_value=True),
    _same("--help -h", _ALL, takes_value=False),
    # the cluster
    _same("--namespace -n", _ALL, "by default the namespace of the kube context"),
    _same("--kube-context", _ALL, "another name of --context"),
    _same("--kubeconfig", _ALL),
    _refused("--kube-apiserver", _ALL, "the kubeconfig names the cluster", _KUBECONFIG, takes_value=True),
    _refused("--kube-token", _ALL, "credentials do not belong on a command line", _KUBECONFIG, takes_value=True),
    _refused("--kube-ca-file", _ALL, "the kubeconfig names the cluster", _KUBECONFIG, takes_value=True),
    _refused("--kube-tls-server-name", _ALL, "the kubeconfig names the cluster", _KUBECONFIG, takes_value=True),
    _refused("--kube-insecure-skip-tls-verify", _ALL, "the kubeconfig names the cluster", _KUBECONFIG),
    _refused("--kube-as-user", _ALL, "the kubeconfig names the user (`as`)", _KUBECONFIG, takes_value=True),
    _refused("--kube-as-group", _ALL, "the kubeconfig names the user (`as-groups`)", _KUBECONFIG, takes_value=True),
    _refused(
        "--burst-limit", _ALL, "it is set in the environment", "`export HELM_BURST_LIMIT=100` sets it for Helm.", takes_value=True
    ),
    _refused("--qps", _ALL, "it is set in the environment", "`export HELM_QPS=50` sets it for Helm.", takes_value=True),
)
