"""Internal: a version becomes a release.

``execute`` is the state machine of an operation; read it first. ``plan`` decides (pure), ``lock`` keeps operations apart,
``reconcile`` finishes what a crash left, ``operations`` writes what is done, ``diagnose`` explains a failure.
"""
