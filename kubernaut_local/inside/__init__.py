"""The scripts that the platform runs: PID 1 of its namespaces (`init.py`) and the network link (`link.py`).

They are run by their paths and import the standard library only.
"""
