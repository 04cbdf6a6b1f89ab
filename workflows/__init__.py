"""What argotune's users touch: the command line, its input, the Argo templates, the engine."""
