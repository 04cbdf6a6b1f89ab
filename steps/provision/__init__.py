"""Find or create a GPU node, and wait until its GPU is allocatable."""
