"""The schema of a Workspace's status, which the operator alone writes."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

CONDITIONS = ("ResourceReady", "InferenceReady", "JobStarted", "WorkspaceSucceeded")
"""Conditions that Kaito sets too, by its names; there are more."""


def status_schema() -> Schema:
    """Build the schema: Kaito's fields, and those of argotune in one of its own."""
    return _object(
        "what the operator last saw; it is written only when it changes",
        {
            "conditions": {
                "type": "array",
                "description": f"Kaito's conditions, by its names: {', '.join(CONDITIONS)}, ...",
                "items": _condition(),
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
            "workerNodes": {
                "type": "array",
                "description": "names of the nodes that the run or the service has",
                "items": {"type": "string"},
                "x-kubernetes-list-type": "atomic",
            },
            "argotune": _argotune(),
        },
    )


def _condition() -> Schema:
    return {
        **_object(
            "as metav1.Condition",
            {
                "type": _text("name of the condition"),
                "status": {**_text("whether it holds"), "enum": ["True", "False", "Unknown"]},
                "reason": _text("why, as one word for programs"),
                "message": {
                    **_text("why, for people; every problem of a wrong file, with its field"),
                    "maxLength": 32768,
                },
                "lastTransitionTime": _time("when the status last changed"),
                "observedGeneration": _whole_number(
                    "metadata.generation of the Workspace that this is about"
                ),
            },
        ),
        "required": ["type", "status", "reason", "message", "lastTransitionTime"],
    }


def _argotune() -> Schema:
    return _object(
        "what Kaito has no field for",
        {
            "run": _text("Workflow of the last run; `argotune status` and Argo's UI show it"),
            "phase": _text("its phase, as Argo says it, or Stopped"),
            "steps": {
                "type": "array",
                "description": "its steps, in the order of their start",
                "items": {
                    **_object("one step", {"name": _text("its name"), "phase": _text("its phase")}),
                    "required": ["name", "phase"],
                },
                # The steps of a loop have one name.
                "x-kubernetes-list-type": "atomic",
            },
            "progress": _text("units of work done and their number, of the step that counts them"),
            "eta": _time("when it is expected to end"),
            "node": _text("GPU node of the run or the service"),
            "spentUsd": {
                # No number of the API is a float: a client may write another one back.
                **_text("what its nodes have cost so far by the known prices, US dollars"),
                "pattern": r"^\d+\.\d{2}$",
            },
            "version": _text("adapter in service, as `argotune versions` shows it"),
            "losses": _object(
                "mean losses on the rows that are held out, nats per token",
                {
                    "base": _text("of the model before the tuning"),
                    "tuned": _text("of the model after it"),
                    "live": _text("of the adapter that was in service"),
                },
            ),
            "endpoint": _text("URL of the service inside the cluster"),
        },
    )


def _object(description: str, properties: Schema) -> Schema:
    return {"type": "object", "description": description, "properties": properties}


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _time(description: str) -> Schema:
    return {"type": "string", "format": "date-time", "description": description}


def _whole_number(description: str) -> Schema:
    return {"type": "integer", "format": "int64", "minimum": 0, "description": description}
