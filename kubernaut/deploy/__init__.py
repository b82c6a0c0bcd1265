"""Internal: a version becomes a release.

In the order of a deploy, each package or module with what it does:

- ``requests`` and ``values/``: what is requested, as data.
- ``execute``: the state machine of an operation; read it first. ``execution`` is the state that it changes.
- ``planning/``: what is to be done, decided from data alone; ``cluster_facts`` reads what a plan needs to know of the cluster.
- ``lock/``: keeps the operations on a release apart.
- ``accepting``, ``operations``, ``operation_writer``: the operation as it is written to the cluster.
- ``reconcile``: finishes what a crash left.
- ``helm_commands``: what Helm runs. ``rollout`` and ``probe``: whether what it made is ready, and why not.
- ``uninstall``, ``failed_deploy``: hooks of an uninstall, and the way back after a failure. ``cleanup`` deletes the objects that
  failures left, ``hook_cleanup`` the hooks.
- ``rollback_objects``: the objects that a rollback adopts. ``ownership``, ``preview``: what a dry run shows besides the plan.
- ``watch``, ``judge``: an operation that another process executes, and the current release, watched from outside.
"""
