"""The operator: makes an Argo Workflow of each Workspace that is applied, and shows its state.

It has no training or cloud logic of its own: it plans, submits, stops and removes as the commands
`argotune submit`, `stop`, `schedule` and `rollback` do, with their code.

`__main__.py` waits to be the leader and then has kopf watch; `watching.py` puts what kopf sees into
`seen.py` and its Workspaces into the queue of `queue.py`; `reconcile.py` brings one Workspace to
what it says. Begin there.
"""
