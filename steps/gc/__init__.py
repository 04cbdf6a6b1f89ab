"""Delete nodes that finished or expired runs left behind."""
