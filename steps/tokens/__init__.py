"""What a conversation is to a model: its tokenizer, its chat template, tokens and labels.

It needs transformers and no torch.
"""

from __future__ import annotations

import os
import sys


def leave_torch_out() -> None:
    """Make transformers do without torch in this process; to be called before it is imported.

    On a machine where torch is installed, transformers imports it, for tokenizers too: 500 MB.
    """
    # Python's way to say that a module cannot be imported.
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
