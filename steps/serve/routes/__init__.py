"""The routes of the server, one module each."""
