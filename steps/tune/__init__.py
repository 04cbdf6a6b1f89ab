"""Tune the adapter on the train rows and measure it on the held-out ones."""

import logging

# At import it warns that an optional kernel for inference on CPUs is not installed.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
