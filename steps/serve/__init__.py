"""The inference server: not a step, but what the deploy step starts."""

import logging

# At import it warns that an optional kernel for inference on CPUs is not installed.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
