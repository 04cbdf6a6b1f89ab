"""What one step writes and another reads: files, labels and their formats."""
