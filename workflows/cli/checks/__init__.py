"""The checks of `argotune doctor`: one module per subject, listed in `all.py`."""
