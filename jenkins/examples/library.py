"""Deploy a version where it is not served yet, and say which one it replaces; see library.Jenkinsfile."""

import os
import sys

from kubernaut import Kubernaut, KubernautError
from kubernaut.errors import ReleaseNotFound

name, namespace = sys.argv[1:]
kubernaut = Kubernaut()
try:
    try:
        print("before:", kubernaut.show(name, namespace=namespace).chart.version)
    except ReleaseNotFound:
        print("before: nothing")
    outcome = kubernaut.deploy(name, namespace=namespace, version=os.environ.get("VERSION") or None)
except KubernautError as failure:
    print(f"{failure.message}\n{failure.hint or ''}", file=sys.stderr)
    sys.exit(failure.exit_status)
print("now:", outcome.release.id, outcome.release.chart.version, "changed" if outcome.changed else "unchanged")
