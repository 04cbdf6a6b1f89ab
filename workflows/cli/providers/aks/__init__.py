"""Provider aks, for the command line."""
