"""Give back what provision got for this run, whatever the run's result."""
