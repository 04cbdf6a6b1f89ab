"""What a cloud says about the machines of a plan before it runs."""
