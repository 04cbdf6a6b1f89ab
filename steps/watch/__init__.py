"""Bring another node when the one that was made for a run is taken away."""
