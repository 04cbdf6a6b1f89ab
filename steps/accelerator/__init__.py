"""The GPUs of this machine as torch sees them; tune and serve share it."""
