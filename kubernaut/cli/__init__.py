"""The command line ``kubernaut`` on top of :class:`kubernaut.Kubernaut`; ``main.MODULES`` lists its commands. Internal."""

import gc

# While a command starts, it keeps most of what it creates: with the default threshold of 700, collections take a tenth of the time.
gc.set_threshold(50_000)
