"""The only client of the Kubernetes API, for steps and the command line."""
