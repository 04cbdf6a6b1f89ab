"""The inference server; it is not a step, but the deploy step starts it."""

import logging
import os

# It warns at import that an optional kernel for inference on CPUs is not installed.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

# OpenMP reads it once, when torch is imported. Otherwise its threads busy-wait for each other, and
# beside other work on the same cores each training step takes six times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
