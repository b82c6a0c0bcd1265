"""The lock of a release: ``lease`` is its data, ``acquire`` acquires, renews and releases it, ``liveness`` only observes it."""
