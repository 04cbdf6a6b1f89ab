"""What argotune install puts on a cluster, and takes off it."""
