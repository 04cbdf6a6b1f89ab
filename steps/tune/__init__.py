"""Tune the adapter on the train rows and measure it on the held-out ones."""
