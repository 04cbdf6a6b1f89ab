"""The pods of scorers: programs that argotune does not know, between two parts of evaluate.

Each reads its rows and writes its scores (steps/contracts/scoring.py), and sees nothing else: no
token, no Secret, of the run's volume only the directories of these two files, and by a policy of
its own no network but the API server's, which the executor beside it needs. Which image a name
stands for is the installation's text.
"""

from __future__ import annotations

from hera.workflows import (
    Container,
    EmptyDirVolume,
    Env,
    Parameter,
    Resources,
    Step,
    Steps,
    Task,
)
from hera.workflows.models import ExecutorConfig, VolumeMount

from argotune.steps.contracts.scoring import (
    ROWS_NAME,
    ROWS_VARIABLE,
    SCORES_NAME,
    SCORES_VARIABLE,
    rows_dir,
    scores_dir,
)
from argotune.steps.nodes.labels import STEP_POD_LABEL
from argotune.steps.settings.run_settings import SCORERS
from argotune.workflows.templates import step as container
from argotune.workflows.templates.accounts import STEP
from argotune.workflows.templates.step import FORBIDDEN, output, value_of

NAME = "score"
POD = "scorer"
"""Template of the pod of one of them."""
PROGRAM = "/scorer"
"""The program in each scorer's image. With an entrypoint of the image's own Argo's controller would
have to ask the registry for it, whose login it may not have."""
_ROWS, _SCORES = "/argotune/scoring/rows", "/argotune/scoring/scores"
_TIMEOUT_SECONDS = 3600
_CHECK = "{{inputs.parameters.check}}"


def _own(key: str) -> str:
    """The expression of what plan says of the check's scorer.

    Argo 4.0 fails for JSON that is none, and evaluates it also when the parameter is a tag still.
    """
    scorers = "inputs.parameters['scorers']"
    value = f"fromJSON({scorers})[inputs.parameters['check']].{key}"
    return f"({scorers} startsWith '{{\"' ? {value} : '')"


def _json(key: str) -> str:
    """The tag of the same as JSON that the kubelet passes on unchanged."""
    return f"{{{{=replace(toJson({_own(key)}), '$', '$$')}}}}"


_ALLOWED = f"({value_of(SCORERS)})[{_own('scorer')}] ?? '{FORBIDDEN}'"
# Argo refuses a list of another length in `args`; a patch is text until the pod is made.
_POD = f'{{"containers": [{{"name": "main", "args": {_json("args")}, "env": {_json("env")} }}] }}'


def templates() -> None:
    """Build the templates; the workflow must be open."""
    _pod()
    # One after the other, because the pods mount a volume that may be on one node alone.
    with Steps(
        name=NAME,
        parallelism=1,
        inputs=[Parameter(name="checks"), Parameter(name="scorers")],
    ):
        Step(
            name=NAME,
            template=POD,
            with_param="{{inputs.parameters.checks}}",
            arguments=[
                Parameter(name="check", value="{{item}}"),
                Parameter(name="scorers", value="{{inputs.parameters.scorers}}"),
            ],
        )


def _pod() -> None:
    Container(
        name=POD,
        image=f"{{{{={_ALLOWED}}}}}",
        # On one machine the name stands for a program of it.
        command=[f"{{{{=({_ALLOWED}) startsWith '/' ? ({_ALLOWED}) : '{PROGRAM}'}}}}"],
        inputs=[
            Parameter(name="check", description="Title of the check"),
            Parameter(
                name="scorers",
                description="The scorer of each check by its title, with arguments and variables",
            ),
        ],
        env=[
            Env(name=ROWS_VARIABLE, value=f"{_ROWS}/{ROWS_NAME}"),
            Env(name=SCORES_VARIABLE, value=f"{_SCORES}/{SCORES_NAME}"),
            Env(name="HOME", value=container.SCRATCH_DIR),
            Env(name="TMPDIR", value=container.SCRATCH_DIR),
        ],
        volumes=[EmptyDirVolume(name="scratch", mount_path=container.SCRATCH_DIR)],
        volume_mounts=[
            VolumeMount(
                name="work", mount_path=_ROWS, sub_path=str(rows_dir(_CHECK)), read_only=True
            ),
            VolumeMount(name="work", mount_path=_SCORES, sub_path=str(scores_dir(_CHECK))),
        ],
        active_deadline_seconds=_TIMEOUT_SECONDS,
        retry_strategy=container.retry(3),
        termination_message_policy="FallbackToLogsOnError",
        resources=Resources(cpu_request="100m", memory_request="512Mi", memory_limit="4096Mi"),
        labels={
            STEP_POD_LABEL: POD,
            **container.WORKSPACE_LABELS,
        },
        security_context=container.CONTAINER_SECURITY,
        service_account_name=STEP,
        automount_service_account_token=False,
        executor=ExecutorConfig(service_account_name=STEP),
        pod_spec_patch=_POD,
    )


def task(plan: container.Step, depends: str) -> None:
    """Call the scorers of the plan from the open DAG."""
    Task(
        name=NAME,
        template=NAME,
        depends=depends,
        arguments=[
            Parameter(name="checks", value=output(plan, "scored-checks")),
            Parameter(name="scorers", value=output(plan, "scorers")),
        ],
    )


def is_wanted(plan: container.Step) -> str:
    """Return the condition under which a run has scorers."""
    return f"'{output(plan, 'has-scorers')}' == 'true' && {value_of('gate')} == on"
