"""Have a GPU node, and wait until its GPU can be used."""
