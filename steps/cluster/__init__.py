"""The door to Kubernetes and what is read there of runs."""
