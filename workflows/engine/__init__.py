"""The local engine: runs rendered Argo YAML on this machine with Argo's meaning.

What belongs here is everything Argo's controller and executor do for a Workflow: reading the
documents, refusing what one machine cannot do, scheduling, substitution, retries, processes and
the record. What does not: Hera, our own steps, and anything a terminal prints.

``load`` reads documents, ``run`` runs and resumes them, ``record`` reads and stops a run.
"""
