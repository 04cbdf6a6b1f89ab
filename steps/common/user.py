"""Who runs this process."""

from __future__ import annotations

import getpass


def user_name() -> str:
    """Return the user's name; empty for one whom the system's list does not have."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
