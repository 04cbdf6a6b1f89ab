"""Servers and data that tests use in place of the real ones; they speak the real protocols."""
