"""Container registries: image references, logins, push and pull."""
