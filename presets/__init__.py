"""Data about models and machines; every number has its source beside it."""
