"""Lets multiprocessing start its servers by tests/warm; Python imports this when it starts."""

import os
from multiprocessing import spawn

if "K49_WARM" in os.environ:
    spawn.set_executable(os.path.join(os.environ["K49_WARM"], "python"))
