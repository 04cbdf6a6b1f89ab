"""Imports of libraries that are large, such as torch."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def lasting_imports() -> Iterator[None]:
    """Import within the block without collecting garbage.

    Python looks for cycles whenever enough objects are new. torch, transformers and peft make a
    million that all stay, so that a fifth of the time of their import goes into looks that find
    nothing.
    """
    gc.disable()
    try:
        yield
    finally:
        # Both together make old ones of all objects, which the next collections do not look at.
        gc.freeze()
        gc.unfreeze()
        gc.enable()
