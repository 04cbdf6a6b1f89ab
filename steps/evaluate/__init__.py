"""Measure a tuned adapter beside the base model and the adapter in service, and judge it."""
