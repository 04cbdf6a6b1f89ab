"""What stands in a Workflow's fields: expressions, conditions, loops, durations."""
