"""Delete the nodes that provision created for a run, or keep them for the next run."""
