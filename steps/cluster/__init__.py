"""The only client of the Kubernetes API, for steps and command line, and what is read there."""
