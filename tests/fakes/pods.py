"""Pods of the engine that are functions of this process: a step takes milliseconds."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from argotune.steps.common.errors import StepError
from argotune.steps.common.fields import fields_of, text_of
from argotune.workflows.engine.pods.pod import Launcher, Pod
from argotune.workflows.engine.pods.supervise import PodEnded, PodStarted, Sink

Step = Callable[[Mapping[str, str]], Any]
"""Does a step's work with these flags, and returns its Result. Raises StepError."""

_MODULE = "argotune.steps."


@dataclass(frozen=True)
class StepsOfThisProcess:
    """What the engine makes its pods with: the functions by the names of the steps."""

    steps: Mapping[str, Step]
    ran: list[str] = field(default_factory=list)
    """The names, in the order in which the steps began."""

    def __call__(self, pod: Pod, launcher: Launcher, sink: Sink, *, wants_lines: bool) -> _Pod:
        """Make a pod of the engine; `wants_lines` asks for lines of a log, and there is none."""
        return _Pod(pod, launcher, sink, self)


class _Pod:
    """A function in a thread, which cannot be ended."""

    def __init__(self, pod: Pod, launcher: Launcher, sink: Sink, made_by: StepsOfThisProcess):
        self._pod = pod
        self._launcher = launcher
        self._sink = sink
        self._made_by = made_by
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let it end."""

    def kill(self) -> None:
        """Let it end."""

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        node_id = self._pod.identity.node_id
        launch = self._launcher.prepare(self._pod)
        module = next(each for each in launch.arguments if each.startswith(_MODULE))
        step = module.removeprefix(_MODULE)
        pairs = (each[2:].partition("=") for each in launch.arguments if each.startswith("--"))
        self._made_by.ran.append(step)
        self._sink(PodStarted(node_id))
        try:
            result = self._made_by.steps[step]({name: text for name, _, text in pairs})
        except StepError as error:
            exit_code, message, texts = error.exit_code, str(error), {}
        except Exception as error:
            exit_code, message, texts = 1, f"bug: {error!r}", {}
        else:
            texts = {each.kebab: text_of(getattr(result, each.name)) for each in _fields(result)}
            exit_code, message = 0, ""
        parameters = [
            {**each.parameter, "value": texts.get(each.name, each.default or "")}
            for each in self._pod.outputs
        ]
        shutil.rmtree(self._pod.directory, ignore_errors=True)
        outputs = {"exitCode": str(exit_code), "parameters": parameters}
        self._sink(PodEnded(node_id, exit_code, message, outputs))


def _fields(result: Any) -> list[Any]:
    assert dataclasses.is_dataclass(result)
    return list(fields_of(type(result)))
