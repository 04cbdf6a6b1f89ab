"""Decides which nodes of a run start, end or are tried again, as Argo's controller does."""
