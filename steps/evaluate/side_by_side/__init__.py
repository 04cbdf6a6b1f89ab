"""Measure several models with one base on the same rows; `argotune evaluate` runs it."""
