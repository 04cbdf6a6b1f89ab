"""Optional packages of tune's image (images/README.md)."""

from __future__ import annotations


def remedy(extra: str, *, locally: str = "run `make setup`", otherwise: str = "turn it off") -> str:
    """Advice to install a missing package; `extra` is its name in EXTRAS."""
    return (
        f"build the tune image with `make images STEPS=tune EXTRAS={extra}`, {locally} on your "
        f"own machine, or {otherwise}"
    )
