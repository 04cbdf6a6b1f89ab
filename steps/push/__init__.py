"""Build a reproducible OCI image of the adapter and push it."""
