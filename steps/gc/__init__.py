"""Take away the nodes that runs left behind."""
