"""Refuses what is wrong or not supported before anything starts."""
