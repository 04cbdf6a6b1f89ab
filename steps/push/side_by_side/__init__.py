"""Keep the report of an evaluation of several models in the registry."""
