"""Replace the node of a run when it is lost."""
