"""A run as Argo's status has it: its documents, templates, nodes and variables."""
