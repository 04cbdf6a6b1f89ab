"""The languages in a Workflow's fields: expressions, conditions, loops, tags, durations."""
