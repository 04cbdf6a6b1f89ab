"""The local engine: runs rendered Argo YAML on this machine, with Argo's semantics.

The engine does what Argo's controller and executor do for a Workflow: it reads the documents,
refuses what one machine cannot do, schedules, substitutes, retries, runs processes and keeps the
record. Hera, the steps of this project and everything that a terminal prints are outside of it.

The packages form a line, and each imports only those before it:

    language     expressions, `when`, `depends`, loops and `{{...}}` tags: text in, values out
    state        the documents, the templates, and the nodes of a run as Argo's status has them
    pods         a template as a process or container of this machine
    controller   which node starts, ends or is retried: DAG, steps, hooks, retries, locks
    validation   everything that makes a workflow impossible to run, found before it starts

`model.py` (nodes, phases, ids) and `errors.py` are below them all. Above them `record.py` keeps the
run directory, `loop.py` waits for events and calls the controller after each, `resume.py` decides
what an interrupted run keeps, `orphans.py` ends the pods of a killed engine, and `run.py` puts
everything together.

Begin with `run` in run.py, which names every part in order; then `Loop` in loop.py, and `Operator`
in controller/operate.py, which walks the templates from the entrypoint. A difference from Argo is a
bug: tests/workflows/engine/cases holds workflows with what a real Argo answered.
"""
