"""One file per command of argotune."""
