"""Where GPU nodes come from: one module per provider, shared by provision and release."""
