"""Kaito's Workspace: read, checked, and turned into the arguments of a workflow."""
