"""Resolve the configuration into a training plan, and refuse a run that does not fit its GPU."""
