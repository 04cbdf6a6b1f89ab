"""The refusal, before anything starts, of what is wrong or not supported."""
