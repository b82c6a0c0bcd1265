"""The command line ``kubernaut`` on top of :class:`kubernaut.Kubernaut`; ``main.MODULES`` lists its commands. Internal."""
