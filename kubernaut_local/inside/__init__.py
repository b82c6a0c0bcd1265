"""The two scripts that run inside the namespaces: PID 1's beginning (`init.py`) and the network link (`link.py`).

They are run by their path and use the standard library only, so that they depend on nothing that `up` had imported.
"""
