"""Plan an evaluation of several models: find them, and settle base, batch and machine."""
