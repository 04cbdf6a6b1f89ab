"""The settings of a run: the table of them, and what the steps refuse of their values."""
