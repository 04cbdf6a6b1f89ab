"""HTTP to servers that a run names: connections to checked addresses only."""
