"""The inference server: not a step, but what the deploy step starts."""

import logging
import os

# At import it warns that an optional kernel for inference on CPUs is not installed.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

# OpenMP reads it once, when torch is imported. Its threads else spin while they wait for each
# other, and beside other work on the same cores each training step takes six times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
