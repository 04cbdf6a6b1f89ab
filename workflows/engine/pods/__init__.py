"""The pods of a run as processes or containers of this machine."""
