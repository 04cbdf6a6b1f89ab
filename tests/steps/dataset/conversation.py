"""Conversations as the dataset step's code has them, from plain texts."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from argotune.steps.contracts.dataset_rows import ROLES
from argotune.steps.dataset.conversations import ASSISTANT, Conversations

Row = Sequence[tuple[str, str]]
"""Role and text of each message."""


def conversations(*rows: Row | str) -> Conversations:
    """The rows; a text alone is a question without an answer's words."""
    whole = [[("user", row), ("assistant", "yes")] if isinstance(row, str) else row for row in rows]
    messages = [message for row in whole for message in row]
    roles = np.array([ROLES.index(role) for role, _ in messages], dtype=np.uint8)
    return Conversations(
        lengths=np.array([len(row) for row in whole], dtype=np.int64),
        roles=roles,
        contents=pa.array([text for _, text in messages], pa.large_string()),
        learned=roles == ASSISTANT,
        refused=np.zeros(len(whole), dtype=np.uint8),
    )
