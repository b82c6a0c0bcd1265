"""The command line: a thin door on :class:`kubernaut.Kubernaut`, one module a verb. It renders; it decides nothing."""
