"""Tell a webhook how a run has ended, or that it waits for its approval."""
