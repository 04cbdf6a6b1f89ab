"""The command `argotune`: one small file per command, wired in main.py."""
