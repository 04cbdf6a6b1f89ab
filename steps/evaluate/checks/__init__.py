"""The checks of a user's own on answers; they need no torch."""
