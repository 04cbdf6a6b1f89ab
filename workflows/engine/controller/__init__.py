"""The decisions of Argo's controller: which nodes of a run start, end or are retried."""
