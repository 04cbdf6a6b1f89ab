"""Answers questions in tokens with a base model and its adapters; nothing here knows of HTTP."""
