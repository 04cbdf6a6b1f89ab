"""Resolve the configuration into one plan; refuse what cannot fit before it costs money."""
