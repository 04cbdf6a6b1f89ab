"""Start the inference service, wait until it is ready, and ask it one question."""
