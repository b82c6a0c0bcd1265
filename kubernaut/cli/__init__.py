"""The command line ``kubernaut`` on top of :class:`kubernaut.Kubernaut`; ``main.MODULES`` lists its commands. Internal."""

import atexit
import gc

# While a command starts, it keeps most of what it creates: with the default threshold of 700, collections take a tenth of the time.
gc.set_threshold(200_000)
# At the end of the process all of it is freed anyway; searching it for cycles first takes as long as many imports.
atexit.register(gc.freeze)
