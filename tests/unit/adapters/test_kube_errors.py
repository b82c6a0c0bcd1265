"""From what the API server answers to the error that it is; the messages are those of Kubernetes 1.35."""

from __future__ import annotations

import json

import pytest

from kubernaut.adapters.kube_http import status_error, status_message
from kubernaut.errors import BadInput, ClusterDenied, ClusterUnreachable, Conflict, KubernautError, NamespaceNotFound, NotFound

UID = 'Operation cannot be fulfilled on leases.coordination.k8s.io "a": StorageError: invalid object, Code: 4, Key: /registry/a, '
UID += "ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: 1a7e, UID in object meta: "


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (400, 'Lease in version "v1" cannot be handled as a Lease: parsing time "x"', BadInput),
        (401, "Unauthorized", ClusterDenied),
        (403, 'leases.coordination.k8s.io is forbidden: User "ada" cannot create resource "leases"', ClusterDenied),
        (403, 'leases "a" is forbidden: unable to create new content in namespace x because it is being terminated', Conflict),
        (404, 'leases.coordination.k8s.io "a" not found', NotFound),
        (404, 'namespaces "x" not found', NamespaceNotFound),
        (409, 'leases.coordination.k8s.io "a" already exists', Conflict),
        (409, 'Operation cannot be fulfilled on secrets "s": the object has been modified; please apply', Conflict),
        (409, 'Operation cannot be fulfilled on Secret "s": the ResourceVersion in the precondition (1) does not match', Conflict),
        (409, UID, NotFound),
        (409, UID + "9f0c", Conflict),
        (413, "Request entity too large: limit is 3145728", BadInput),
        (422, 'Secret "s" is invalid: data: Forbidden: field is immutable when `immutable` is set', BadInput),
        (422, 'Secret "s" is invalid: data: Too long: may not be more than 1048576 bytes', BadInput),
        (429, "Too many requests, please try again later", ClusterUnreachable),
        (500, "etcdserver: leader changed", ClusterUnreachable),
        (503, "apiserver is shutting down", ClusterUnreachable),
        (504, "Timeout: request did not complete within requested timeout", ClusterUnreachable),
    ],
)
def test_each_answer_has_its_error(status: int, message: str, error: type[KubernautError]) -> None:
    made = status_error("The cluster", status, message)
    assert type(made) is error
    assert status == 401 or message in made.message, "the API server's own words are kept"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (json.dumps({"kind": "Status", "message": "no"}), "no"),
        (json.dumps({"kind": "Status"}), '{"kind": "Status"}'),
        (json.dumps({"message": None}), '{"message": null}'),
        ("[1]", "[1]"),
        ("<html>" + "x" * 1000, "<html>" + "x" * 494),
        ("[" * 100_000, "[" * 500),
        ("", ""),
    ],
)
def test_the_message(body: str, message: str) -> None:
    assert status_message(body) == message
