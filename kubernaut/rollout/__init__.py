"""What the cluster does with a release: watched while it rolls out, judged, explained; the same functions compute its health.

Internal: the public names are in :mod:`kubernaut.api`. ``watch`` reads the cluster; the other modules are pure.
"""
