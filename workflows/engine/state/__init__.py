"""A run as in Argo's status: its documents, templates, nodes and variables."""
