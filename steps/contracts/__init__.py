"""Files and formats that one step writes and another reads."""
