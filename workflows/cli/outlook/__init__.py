"""A cloud's forecast for the machines of a plan."""
