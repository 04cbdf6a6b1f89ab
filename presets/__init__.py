"""What is known about models and machines, as data: every number stands beside its source."""
