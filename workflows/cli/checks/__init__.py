"""What `argotune doctor` looks at: one module per matter, listed in `all.py`."""
