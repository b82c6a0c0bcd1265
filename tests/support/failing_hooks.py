"""Releases that fail by their hooks and Jobs, by the name of the failure."""

# ruff: noqa: E501 - messages stand as the cluster and Helm write them
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernaut.errors import DeadlineExceeded
from support.cluster_objects import (
    UPGRADE_TIMEOUT,
    Failing,
    Item,
    container,
    deployment,
    hook_job,
    item,
    pod,
    running,
    statuses,
    terminated,
)
from support.failing_pods import BACK_OFF, READY


def _hook(status: Item, job_status: Item, helm: str, **more: Any) -> Failing:
    wanted, _, _ = deployment()
    hook = hook_job()
    job = hook | {"status": job_status}
    one = pod(job, "q8z", spec=job["spec"]["template"]["spec"], status=status)
    return Failing([wanted], [hook], live=[job, one], helm=helm, **more)


FAILING_HOOKS: Mapping[str, Failing] = {
    "Job failed": Failing(
        [
            job := item(
                "Job",
                "seed",
                api="batch/v1",
                spec={"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container("seed")]}}},
            )
        ],
        live=[
            job
            | {
                "status": {
                    "failed": 1,
                    "conditions": [
                        {
                            "type": "Failed",
                            "status": "True",
                            "reason": "BackoffLimitExceeded",
                            "message": "Job has reached the specified backoff limit",
                        }
                    ],
                }
            },
            pod(job, "k2x", spec=job["spec"]["template"]["spec"], status=statuses(terminated("seed", code=3), phase="Failed")),
        ],
        logs={("seed", False): ["seeding", "ERROR: relation users does not exist"]},
    ),
    "Job too slow": Failing(
        [
            slow := item(
                "Job",
                "seed",
                api="batch/v1",
                spec={"activeDeadlineSeconds": 30, "template": {"spec": {"containers": [container("seed")]}}},
            )
        ],
        live=[
            slow
            | {
                "status": {
                    "conditions": [
                        {
                            "type": "Failed",
                            "status": "True",
                            "reason": "DeadlineExceeded",
                            "message": "Job was active longer than specified deadline",
                        }
                    ]
                }
            }
        ],
    ),
    "hook failed": _hook(
        statuses(terminated("migrate", code=1), phase="Failed"),
        {
            "failed": 2,
            "conditions": [
                {
                    "type": "Failed",
                    "status": "True",
                    "reason": "BackoffLimitExceeded",
                    "message": "Job has reached the specified backoff limit",
                }
            ],
        },
        "Error: UPGRADE FAILED: pre-upgrade hooks failed: resource Job/demo/migrate not ready. status: Failed, message: Job Failed. failed: 2/1",
        logs={("migrate", False): ["migrating 12", "FATAL: column email already exists"]},
    ),
    "hook failed, deleted since": Failing(
        [deployment()[0]],
        [hook_job()],
        helm="Error: UPGRADE FAILED: pre-upgrade hooks failed: 1 error occurred:\n\t* job migrate failed: BackoffLimitExceeded\n\n",
    ),
    "hook failed, not judged": Failing(
        [deployment()[0]],
        [hook_job(events="pre-install")],
        helm="Error: failed pre-install: 1 error occurred:\n\t* job migrate failed: BackoffLimitExceeded\n\n",
        judged=False,
    ),
    "hook hangs, Helm 3": _hook(
        statuses(running("migrate", ready=True), phase="Running", conditions=READY),
        {"active": 1},
        "Error: UPGRADE FAILED: pre-upgrade hooks failed: 1 error occurred:\n\t* timed out waiting for the condition\n\n",
        logs={("migrate", False): ["waiting for lock held by pid 12"]},
    ),
    "hook hangs, Helm 4": _hook(
        statuses(running("migrate", ready=True), phase="Running", conditions=READY),
        {"active": 1},
        "Error: UPGRADE FAILED: pre-upgrade hooks failed: resource Job/demo/migrate not ready. status: InProgress, message: Job in progress. success:0, active: 1, failed: 0\ncontext deadline exceeded",
    ),
    "hook hangs, Helm stopped": _hook(
        statuses(running("migrate", ready=True), phase="Running", conditions=READY),
        {"active": 1},
        "",
        failure=DeadlineExceeded("Deploying demo.hello took longer than 30 s, and Helm was stopped.", details=["level=WARN msg=x"]),
        logs={("migrate", False): ["waiting for lock held by pid 12"]},
    ),
    "image of a hook": _hook(statuses(BACK_OFF | {"name": "migrate"}), {"active": 1}, UPGRADE_TIMEOUT),
    "hook over quota": Failing(
        [deployment()[0]],
        [hook_job()],
        helm='Error: UPGRADE FAILED: pre-upgrade hooks failed: warning: Hook pre-upgrade hello/templates/hook.yaml failed: 1 error occurred:\n\t* jobs.batch "migrate" is forbidden: exceeded quota: q, requested: count/jobs.batch=1, used: count/jobs.batch=1, limited: count/jobs.batch=1\n\n',
    ),
    "hook is a Pod": Failing(
        [deployment()[0]],
        [
            check := item(
                "Pod",
                "check",
                metadata={"annotations": {"helm.sh/hook": "post-upgrade"}},
                spec={"restartPolicy": "Never", "containers": [container("check")]},
            )
        ],
        live=[check | {"status": statuses(terminated("check", code=4), phase="Failed")}],
        helm="Error: UPGRADE FAILED: post-upgrade hooks failed: 1 error occurred:\n\t* pod check failed\n\n",
    ),
}
