"""The rollout of a release: watched, judged and explained; the same functions compute its health.

Internal: the public names are in :mod:`kubernaut.api`. The pure core, from the bottom: ``objects`` and ``store`` (what is known);
``containers``, ``container_problems`` and ``pods``, ``services``, ``controllers`` and ``workloads`` (the state of each object);
``memory`` and ``verdict`` (the judgement), ``health`` (of a release at one moment). ``watch`` reads the cluster, and ``follow``
judges beside Helm; ``reading`` reads it once, and ``health_reader`` computes the health of one release or of many.
"""
