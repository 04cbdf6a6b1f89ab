"""Make the adapter a reproducible OCI image and push it."""
