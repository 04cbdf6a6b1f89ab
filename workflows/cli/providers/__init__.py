"""The command line's part of each provider of nodes: one module or package each."""
