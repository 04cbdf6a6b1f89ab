"""One package per step of the pipeline, all of one shape; see README.md beside this file."""
