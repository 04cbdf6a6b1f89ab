"""The Workflow of an evaluation of several models."""

from __future__ import annotations

NAME = "evaluation"
"""Name of evaluations, as a workspace's is that of its runs."""
