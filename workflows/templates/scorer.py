"""The pod of a scorer: a program that argotune does not know, between two parts of evaluate.

It reads the rows and writes the scores (steps/contracts/scoring.py), and sees nothing else: no
token, no Secret, of the run's volume only the directories of these two files, and by a policy of
its own no network but the API server's, which the executor beside it needs. Which image a name
stands for is the installation's text.
"""

from __future__ import annotations

from hera.workflows import Container, EmptyDirVolume, Env, Parameter, Resources, Task
from hera.workflows.models import ExecutorConfig, VolumeMount

from argotune.steps.contracts.scoring import (
    ROWS_DIR,
    ROWS_NAME,
    ROWS_VARIABLE,
    SCORES_DIR,
    SCORES_NAME,
    SCORES_VARIABLE,
)
from argotune.steps.nodes.labels import STEP_POD_LABEL
from argotune.steps.settings.run_settings import SCORERS
from argotune.workflows.templates import step as container
from argotune.workflows.templates.accounts import STEP
from argotune.workflows.templates.step import FORBIDDEN, output, value_of
from argotune.workflows.workspace import tags

NAME = "score"
PROGRAM = "/scorer"
"""The program in each scorer's image. With an entrypoint of the image's own Argo's controller would
have to ask the registry for it, whose login it may not have."""
_ROWS, _SCORES = "/argotune/scoring/rows", "/argotune/scoring/scores"
_TIMEOUT_SECONDS = 3600
_ALLOWED = f"({value_of(SCORERS)})[inputs.parameters['scorer']] ?? '{FORBIDDEN}'"
# Argo refuses a list of another length in `args`; a patch is text until the pod is made.
_POD = tags.literal(
    '{"containers": [{"name": "main", "args": {{inputs.parameters.args}},'
    ' "env": {{inputs.parameters.env}}}]}'
)


def template() -> Container:
    """Build the template; the workflow must be open."""
    return Container(
        name=NAME,
        image=f"{{{{={_ALLOWED}}}}}",
        # On one machine the name stands for a program of it.
        command=[f"{{{{=({_ALLOWED}) startsWith '/' ? ({_ALLOWED}) : '{PROGRAM}'}}}}"],
        inputs=[
            Parameter(name="scorer", description="Name of a scorer that the installation allows"),
            Parameter(name="args", description="Arguments of its program, a JSON list"),
            Parameter(name="env", description="Its environment variables, a JSON list"),
        ],
        env=[
            Env(name=ROWS_VARIABLE, value=f"{_ROWS}/{ROWS_NAME}"),
            Env(name=SCORES_VARIABLE, value=f"{_SCORES}/{SCORES_NAME}"),
            Env(name="HOME", value=container.SCRATCH_DIR),
            Env(name="TMPDIR", value=container.SCRATCH_DIR),
        ],
        volumes=[EmptyDirVolume(name="scratch", mount_path=container.SCRATCH_DIR)],
        volume_mounts=[
            VolumeMount(name="work", mount_path=_ROWS, sub_path=str(ROWS_DIR), read_only=True),
            VolumeMount(name="work", mount_path=_SCORES, sub_path=str(SCORES_DIR)),
        ],
        active_deadline_seconds=_TIMEOUT_SECONDS,
        retry_strategy=container.retry(3),
        termination_message_policy="FallbackToLogsOnError",
        resources=Resources(cpu_request="100m", memory_request="512Mi", memory_limit="4096Mi"),
        labels={
            STEP_POD_LABEL: NAME,
            **container.WORKSPACE_LABELS,
        },
        security_context=container.CONTAINER_SECURITY,
        service_account_name=STEP,
        automount_service_account_token=False,
        executor=ExecutorConfig(service_account_name=STEP),
        pod_spec_patch=_POD,
    )


def task(plan: container.Step, depends: str) -> None:
    """Call the template from the open DAG, for the scorer of the plan."""
    Task(
        name=NAME,
        template=NAME,
        depends=depends,
        arguments=[
            Parameter(name="scorer", value=output(plan, "scorer")),
            Parameter(name="args", value=output(plan, "scorer-args")),
            Parameter(name="env", value=output(plan, "scorer-env")),
        ],
    )


def is_wanted(plan: container.Step) -> str:
    """Return the condition under which a run has a scorer."""
    return f"'{output(plan, 'scorer')}' != '' && {value_of('gate')} == on"
