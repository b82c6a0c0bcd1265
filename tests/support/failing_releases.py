"""Releases that fail, by the name of the failure: by their pods and hooks, or because Helm could not apply their objects."""

# ruff: noqa: E501 - messages stand as the cluster and Helm write them
from __future__ import annotations

from collections.abc import Mapping

from support.cluster_objects import Failing
from support.failing_hooks import FAILING_HOOKS
from support.failing_pods import FAILING_PODS

_INVALID = 'Error: UPGRADE FAILED: cannot patch "{1}" with kind {0}: {0}.apps "{1}" is invalid: {2}'


def _refused(message: str) -> Failing:
    """Return a release whose objects Helm could not apply."""
    return Failing(helm=message)


FAILING: Mapping[str, Failing] = {
    **FAILING_PODS,
    **FAILING_HOOKS,
    "apply conflict": _refused(
        'Error: UPGRADE FAILED: conflict occurred while applying object demo/web apps/v1, Kind=Deployment: Apply failed with 1 conflict: conflict with "kubectl-edit" using apps/v1 at 2026-11-28T17:04:09Z: .spec.replicas'
    ),
    "apply conflicts": _refused(
        'Error: UPGRADE FAILED: conflict occurred while applying object demo/web apps/v1, Kind=Deployment: Apply failed with 2 conflicts: conflicts with "hpa" with subresource "scale" using autoscaling/v2:\n- .spec.replicas\nconflicts with "kubectl-client-side-apply" using apps/v1:\n- .spec.template.spec.containers[name="app"].image'
    ),
    "belongs to another release": _refused(
        'Error: Unable to continue with install: ConfigMap "settings" in namespace "demo" exists and cannot be imported into the current release: invalid ownership metadata; annotation validation error: key "meta.helm.sh/release-name" must equal "hello": current value is "other"; annotation validation error: key "meta.helm.sh/release-namespace" must equal "demo": current value is "prod"'
    ),
    "not made by Helm": _refused(
        'Error: unable to continue with update: ClusterRole "reader" in namespace "" exists and cannot be imported into the current release: invalid ownership metadata; label validation error: missing key "app.kubernetes.io/managed-by": must be set to "Helm"; annotation validation error: missing key "meta.helm.sh/release-name": must be set to "hello"'
    ),
    "selector immutable": _refused(
        _INVALID.format("Deployment", "web", 'spec.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable')
    ),
    "StatefulSet immutable": _refused(
        "Error: UPGRADE FAILED: server-side apply failed for object demo/db apps/v1, Kind=StatefulSet: StatefulSet.apps \"db\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
    ),
    "claim immutable": _refused(
        'Error: UPGRADE FAILED: cannot patch "data" with kind PersistentVolumeClaim: PersistentVolumeClaim "data" is invalid: spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims'
    ),
    "Job immutable": _refused(
        'Error: UPGRADE FAILED: cannot patch "seed" with kind Job: Job.batch "seed" is invalid: spec.template: Invalid value: {"a, spec.y: Invalid value":null}: field is immutable'
    ),
    "node port taken": _refused(
        'Error: 1 error occurred:\n\t* Service "web" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated\n\n'
    ),
    "invalid object": _refused(
        'Error: 1 error occurred:\n\t* Service "web" is invalid: spec.ports[0].port: Invalid value: 99999999: must be between 1 and 65535, inclusive\n\n'
    ),
    "API version gone": _refused(
        'Error: unable to build kubernetes objects from release manifest: resource mapping not found for name: "web" namespace: "" from "": no matches for kind "Ingress" in version "networking.k8s.io/v1beta1"\nensure CRDs are installed first'
    ),
    "API version gone in the previous revision": _refused(
        'Error: UPGRADE FAILED: current release manifest contains removed kubernetes api(s) for this kubernetes version and it is therefore unable to build the kubernetes objects for performing the diff. error from kubernetes: resource mapping not found for name: "web" namespace: "" from "": no matches for kind "PodDisruptionBudget" in version "policy/v1beta1"\nensure CRDs are installed first'
    ),
    "CRD not installed": _refused(
        'Error: unable to build kubernetes objects from release manifest: resource mapping not found for name: "cert" namespace: "" from "": no matches for kind "Certificate" in version "cert-manager.io/v1"\nensure CRDs are installed first'
    ),
    "right missing": _refused(
        'Error: services is forbidden: User "system:serviceaccount:demo:deployer" cannot create resource "services" in API group "" in the namespace "demo"'
    ),
    "namespace being deleted": _refused(
        'Error: create: failed to create: secrets "sh.helm.release.v1.hello.v1" is forbidden: unable to create new content in namespace demo because it is being terminated'
    ),
    "webhook does not answer": _refused(
        'Error: 1 error occurred:\n\t* Internal error occurred: failed calling webhook "validate.nginx.ingress.kubernetes.io": failed to call webhook: Post "https://ingress-nginx-controller-admission.ingress.svc:443/networking/v1/ingresses?timeout=10s": dial tcp 10.96.3.4:443: connect: connection refused\n\n'
    ),
    "webhook denies": _refused(
        'Error: admission webhook "validate.kyverno.svc-fail" denied the request: \n\nresource Deployment/demo/web was blocked due to the following policies\n\nrequire-labels:\n  check-for-labels: team is required'
    ),
    "policy denies": _refused(
        "Error: deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'replicas' with binding 'replicas-prod' denied request: at most 5 replicas"
    ),
    "unknown to us": _refused("Error: UPGRADE FAILED: something entirely new\nwith a second line"),
}
