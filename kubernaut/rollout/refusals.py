"""The cause in a message of the API server or its admission that refused an object. Pure.

These messages have no codes that survive Helm and the controllers, so the texts decide. They are those of apimachinery, the
admission plugins and the validation in Kubernetes 1.34 to 1.36; ``tests/unit/rollout/test_refusals.py`` holds one of each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kubernaut.rollout.problems import Cause, short

_INVALID = re.compile(r'(?P<kind>[A-Z]\w*)(?:\.[\w.-]+)? "(?P<name>[^"]+)" is invalid: (?P<rest>.*)', re.DOTALL)
_INVALID_FIELD = re.compile(
    r"(?:^\[?|, )(?P<field>[A-Za-z][\w.\[\]/-]*): (?:Invalid value|Forbidden|Required value|Unsupported value|Duplicate value"
    r"|Too long|Not found|Too many|Internal error)"
)
_IMMUTABLE = re.compile(
    r"field is immutable|may not change once set|updates to \w+ spec for fields other than|spec is immutable after"
    r"|pod updates may not change|cannot change roleRef|updates to (?:parameters|provisioner) are forbidden|can not be unset"
)
_MUTABLE = re.compile(r"for fields other than (?P<of_workload>.*?) are forbidden|after creation except (?P<of_claim>[\w.]+)")
_NODE_PORT = re.compile(r"nodePort: Invalid value: (?P<port>\d+): (?:provided port is already allocated|.*already allocated)")
_TERMINATING = re.compile(r"in namespace (?P<name>[\w.-]+) because it is being terminated")
_QUOTA = re.compile(
    r"exceeded quota: (?P<quota>[^\s,]+), requested: (?P<requested>.*?), used: (?P<used>.*?), limited: (?P<limited>[^\s;)]+)"
)
_QUOTA_NEEDS = re.compile(r"failed quota: (?P<quota>[^\s:]+): must specify (?P<needs>.*)")
_POD_SECURITY = re.compile(r'violates PodSecurity "(?P<level>[^"]+)": (?P<rules>.*)', re.DOTALL)
_WEBHOOK_DENIED = re.compile(r'admission webhook "(?P<webhook>[^"]+)" denied the request(?:: (?P<why>.*))?', re.DOTALL)
_WEBHOOK_DOWN = re.compile(
    r'failed calling webhook "(?P<webhook>[^"]+)"(?:: (?:failed to call webhook: )?(?:Post "[^"]*": )?(?P<why>.*))?'
)
_POLICY = re.compile(r"ValidatingAdmissionPolicy '(?P<policy>[^']+)' with binding '[^']+' denied request: (?P<why>.*)")
_RIGHT = re.compile(
    r'User "(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)"(?: in API group "(?P<group>[^"]*)")?'
    r'(?: in the namespace "(?P<namespace>[^"]+)"| at the cluster scope)?'
)
_FORBIDDEN = re.compile(r'(?P<resource>[a-z][\w.-]*) "(?P<name>[^"]*)" is forbidden: (?P<why>.*)', re.DOTALL)
_BAD_TYPE = re.compile(
    r"applying object|server-side apply failed for object (?:(?P<namespace>[\w.-]*)/)?(?P<name>[\w.:-]+) \S+, Kind=(?P<kind>\w+): "
    r"(?P<why>.*)"
)
_WRONG_TYPE = re.compile(
    r"cannot unmarshal (?P<given>\w+) into Go struct field \w+\.(?P<field>[\w.\[\]-]+) of type (?P<expected>[\w.\[\]*]+)"
)
_WRONG_VALUE = re.compile(
    r"(?P<field>\.[^\s:]+): expected (?P<expected>\w+), got &value\.valueUnstructured\{Value:(?P<value>[^}]*)\}"
)
_AS_KIND = re.compile(r'(?P<kind>[A-Z]\w*) in version "[^"]+" cannot be handled as a')
_TYPES = {"string": "text", "bool": "boolean", "boolean": "boolean", "number": "number", "object": "map", "array": "list"}
_SERVICE_ACCOUNT = re.compile(r'serviceaccount "(?P<name>[^"]+)" not found')
_MALFORMED = re.compile(
    r"(?:cannot be handled as a \w+|failed to create typed (?:patch|live) object|unknown field|error validating)[^\n]*"
)
_KINDS = {
    "pods": "Pod",
    "services": "Service",
    "configmaps": "ConfigMap",
    "secrets": "Secret",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "serviceaccounts": "ServiceAccount",
    "deployments": "Deployment",
    "statefulsets": "StatefulSet",
    "daemonsets": "DaemonSet",
    "replicasets": "ReplicaSet",
    "jobs": "Job",
    "cronjobs": "CronJob",
    "ingresses": "Ingress",
}


@dataclass(frozen=True)
class Finding:
    """The meaning of a message.

    Attributes:
        cause: Its cause.
        why: A clause that says what is wrong with which object.
        facts: The names and numbers in it.
        decides: Whether waiting or the pods cannot be the reason, so that the cluster need not be asked.
    """

    cause: Cause
    why: str
    facts: Mapping[str, str] = field(default_factory=dict)
    decides: bool = True


def refusal(text: str) -> Finding | None:
    """Return why the API server refused an object, from the message of Helm or of a controller; ``None`` for another message."""
    return next((found for find in _REFUSALS if (found := find(text)) is not None), None)


def _missing_right(text: str) -> Finding | None:
    found = _RIGHT.search(text)
    if found is None:
        return None
    resource = found["resource"] + (f".{found['group']}" if found["group"] else "")
    where = f"in namespace {found['namespace']}" if found["namespace"] else "in the whole cluster"
    facts = {
        "user": found["user"],
        "verb": found["verb"],
        "resource": resource,
        "namespace": found["namespace"] or "",
    }
    return Finding(Cause.ACCESS_DENIED, f"{found['user']} has no right to {found['verb']} {resource} {where}", facts)


def _terminating(text: str) -> Finding | None:
    found = _TERMINATING.search(text)
    if found is None:
        return None
    return Finding(Cause.NAMESPACE_TERMINATING, f"namespace {found['name']} is being deleted", {"namespace": found["name"]})


def _over_quota(text: str) -> Finding | None:
    found = _QUOTA.search(text)
    if found is not None:
        numbers = [found["requested"], found["used"], found["limited"]]
        resources = {number.partition("=")[0] for number in numbers}
        if len(resources) == 1 and "," not in found["requested"]:
            requested, used, limit = (number.partition("=")[2] for number in numbers)
            resource = resources.pop()
            of = " of " if "." in resource else " "
            why = f"quota {found['quota']} allows {limit}{of}{resource}: {used} in use, {requested} requested"
        else:
            why = "quota {} is exceeded: requested {}, used {}, limit {}".format(found["quota"], *numbers)
        return Finding(Cause.QUOTA_EXCEEDED, why, found.groupdict())
    needs = _QUOTA_NEEDS.search(text)
    if needs is None:
        return None
    return Finding(
        Cause.QUOTA_EXCEEDED,
        f"quota {needs['quota']} requires {listed(short(needs['needs']).replace(' for: ', ' for container ').split('; '))}",
        needs.groupdict(),
    )


def _not_admitted(text: str) -> Finding | None:
    security = _POD_SECURITY.search(text)
    if security is not None:
        level = security["level"].partition(":")[0]
        facts = {"podSecurity": level, "rules": short(security["rules"])}
        return Finding(Cause.ADMISSION_DENIED, f"Pod Security level {level} is violated: {short(security['rules'])}", facts)
    for pattern, name, title, does in (
        (_WEBHOOK_DENIED, "webhook", "admission webhook", "refused"),
        (_WEBHOOK_DOWN, "webhook", "admission webhook", "does not answer, so the cluster refuses"),
        (_POLICY, "policy", "admission policy", "refused"),
    ):
        found = pattern.search(text)
        if found is not None:
            refused = _refused_object(text[: found.start()]) or "an object"
            why = f": {short(found['why'])}" if found["why"] else ""
            unanswered = {"unanswered": "true"} if pattern is _WEBHOOK_DOWN else {}
            return Finding(
                Cause.ADMISSION_DENIED, f"{title} {found[name]} {does} {refused}{why}", {name: found[name], **unanswered}
            )
    return None


def _refused_object(before: str) -> str:
    """Return the object that a message was about when it names the refusal: ``… deployments.apps "web" is forbidden: ``."""
    found = re.search(r'(\w+)(?:\.[\w.-]+)? "([^"]+)" is forbidden: $', before)
    return f"{_KINDS.get(found[1], found[1])} {found[2]}" if found else ""


def _invalid_object(text: str) -> Finding | None:
    found = _INVALID.search(text)
    if found is None:
        return _malformed_object(text)
    kind, name, rest = found["kind"], found["name"], found["rest"].split("\n\t* ")[0]
    if name.startswith("sh.helm.release."):
        return None
    fields = list(dict.fromkeys(match["field"] for match in _INVALID_FIELD.finditer(_without_values(rest))))
    facts = {"kind": kind, "name": name, "field": ", ".join(fields)}
    port = _NODE_PORT.search(rest)
    if port is not None:
        why = f"node port {port['port']} of {kind} {name} is already in use by another Service"
        return Finding(Cause.NODE_PORT_TAKEN, why, {**facts, "port": port["port"]})
    if _IMMUTABLE.search(rest):
        return Finding(Cause.FIELD_IMMUTABLE, _immutable(kind, name, rest, fields), facts)
    return Finding(Cause.OBJECT_INVALID, f"{kind} {name} is invalid: {short(rest)}", facts)


def _without_values(text: str) -> str:
    """Return a message without the values in braces, which may look like fields."""
    for _ in range(20):
        shorter = re.sub(r"\{[^{}]*\}", "", text)
        if shorter == text:
            break
        text = shorter
    return text


def _immutable(kind: str, name: str, rest: str, fields: Sequence[str]) -> str:
    allowed = _MUTABLE.search(rest)
    if allowed is not None:
        only = (allowed["of_workload"] or allowed["of_claim"]).replace("'", "")
        return f"the spec of {kind} {name} cannot be changed, except {only}"
    which = f"field {fields[0]}" if len(fields) == 1 else f"fields {listed(fields)}" if fields else "a field"
    return f"{which} of {kind} {name} cannot be changed"


def _wrong_type(text: str) -> Finding | None:
    """Return that a field has a value of another type, such as a boolean in an annotation."""
    found = _WRONG_TYPE.search(text) or _WRONG_VALUE.search(text)
    if found is None:
        return None
    known = found.groupdict()
    given, field = known.get("given") or _type_of(known["value"] or ""), found["field"].lstrip(".")
    about, kind = _BAD_TYPE.search(text), _AS_KIND.search(text)
    facts = {"field": field, "given": given, "expected": found["expected"]}
    title = ""
    if about is not None and about["kind"]:
        facts |= {"kind": about["kind"], "name": about["name"]}
        title = f" of {about['kind']} {about['name']}"
    elif kind is not None:
        title = f" of a {kind['kind']}"
    what = f"a value of {field}" if field.endswith((".annotations", ".labels")) else field
    return Finding(Cause.OBJECT_INVALID, f"{what}{title} must be a {_word(found['expected'])}, and is a {_word(given)}", facts)


def _word(type_name: str) -> str:
    """Return a plain word for a type of Go or JSON."""
    if type_name.startswith(("int", "uint", "float")):
        return "number"
    return "list" if type_name.startswith("[]") else "map" if type_name.startswith("map[") else _TYPES.get(type_name, type_name)


def _type_of(value: str) -> str:
    if value in ("true", "false"):
        return "bool"
    return "number" if re.fullmatch(r"-?[0-9][0-9.e+]*", value) else "array" if value.startswith("[") else "object"


def _malformed_object(text: str) -> Finding | None:
    found = _MALFORMED.search(text)
    if found is None:
        return None
    about = _BAD_TYPE.search(text)
    if about is not None and about["kind"]:
        facts = {"kind": about["kind"], "name": about["name"]}
        return Finding(Cause.OBJECT_INVALID, f"{about['kind']} {about['name']} is invalid: {short(about['why'])}", facts)
    return Finding(Cause.OBJECT_INVALID, f"the cluster refuses an object: {first_words(text)}")


def _forbidden(text: str) -> Finding | None:
    found = _FORBIDDEN.search(text)
    if found is None:
        return None
    kind = _KINDS.get(found["resource"].partition(".")[0], found["resource"])
    account = _SERVICE_ACCOUNT.search(found["why"])
    if account is not None:
        facts = {"missing": "ServiceAccount", "missingName": account["name"]}
        return Finding(Cause.PODS_NOT_CREATED, f"ServiceAccount {account['name']} does not exist", facts)
    facts = {"kind": kind, "name": found["name"], "reason": short(found["why"])}
    return Finding(Cause.ADMISSION_DENIED, f"the cluster refuses {kind} {found['name']}: {short(found['why'])}", facts)


_REFUSALS: tuple[Callable[[str], Finding | None], ...] = (
    _terminating,
    _missing_right,
    _over_quota,
    _not_admitted,
    _wrong_type,
    _invalid_object,
    _forbidden,
)


def listed(words: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, or ``a, b and 3 more``."""
    if len(words) > 3:
        return f"{', '.join(words[:2])} and {len(words) - 2} more"
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def first_words(text: str) -> str:
    """Return the first line that says something."""
    lines = (line.strip().removeprefix("* ") for line in text.splitlines())
    useful = (line for line in lines if line and not re.fullmatch(r"\d+ errors? occurred:", line))
    return short(next(useful, "Helm gave no reason"))
