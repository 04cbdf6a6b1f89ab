"""Code that all steps share; no module here depends on a particular step."""
