"""The command line ``kubernaut``: one module per command, on top of :class:`kubernaut.Kubernaut`. Internal."""
