"""What the command line knows of each provider of nodes: one module or package each."""
