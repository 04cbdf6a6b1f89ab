"""Where an adapter comes from: the statement beside it, its signatures, and the checks of both."""
