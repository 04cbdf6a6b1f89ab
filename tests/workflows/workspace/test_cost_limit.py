from __future__ import annotations

import pytest

from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.planned import Planned, load
from tests.workflows.workspace.helpers import CONFIG_MAP, changed

HERE = "metadata.annotations.argotune.dev/max-cost-usd"
STEPS = CONFIG_MAP.replace(
    "LoraConfig:\n        r: 8", "TrainingArguments:\n        max_steps: 1000"
)


def workspace(max_cost_usd: str, **more: str) -> str:
    """A run of phi-4 on one A100, which costs 3.67 USD/h."""
    annotations = {
        "provider": "aks",
        "service-gpus": "0",
        "alternative-instance-types": "none",
        "max-cost-usd": max_cost_usd,
        **more,
    }
    return changed(
        {"metadata/annotations": {f"argotune.dev/{k}": v for k, v in annotations.items()}}
    )


def planned(text: str, dataset_tokens: int | None = None) -> Planned:
    return load(
        [("one.yaml", text)], overrides={}, allow_loopback=False, dataset_tokens=dataset_tokens
    )


def problem_of(text: str, dataset_tokens: int | None = None) -> str:
    with pytest.raises(WorkspaceError) as caught:
        planned(text, dataset_tokens)
    (problem,) = caught.value.problems
    return problem


def test_a_limit_below_the_least_cost_of_the_plan_is_refused_with_it() -> None:
    problem = problem_of(workspace("1"), dataset_tokens=10_000_000)
    head, least = problem.split(" costs at least ")
    assert head == f"{HERE}: 1, but by its plan the run"
    least_usd = float(least.partition(" USD")[0])
    assert least_usd > 1
    planned(workspace(f"{least_usd + 0.01:.2f}"), dataset_tokens=10_000_000)
    assert "costs at least" in problem_of(workspace(f"{least_usd - 0.01:.2f}"), 10_000_000)


def test_the_steps_of_the_config_say_the_length_too() -> None:
    text = changed({"tuning/config": "my-config"}, base=workspace("0.5"))
    assert "costs at least" in problem_of(f"{text}---\n{STEPS}")


def test_of_a_run_of_unknown_length_only_the_time_for_stopping_is_sure() -> None:
    assert " costs at least 0.18 USD, 180 s for stopping included" in problem_of(workspace("0.1"))
    planned(workspace("0.2"))
    pushed = {"at-cost-limit": "push"}
    assert " costs at least 0.92 USD, 900 s" in problem_of(workspace("0.9", **pushed))
    planned(workspace("0.92", **pushed))


@pytest.mark.parametrize(
    ("check", "name"),
    [
        ("{kind: lm_eval, tasks: [arc_easy], min: 0.5}", "lm_eval, of kind lm_eval"),
        ("{kind: scorer, name: bleu, scorer: bleu, min: 0.5}", "bleu, of kind scorer"),
    ],
)
def test_a_check_for_which_the_limit_leaves_no_time_is_refused(check: str, name: str) -> None:
    config = CONFIG_MAP.replace(
        "LoraConfig:\n        r: 8", f"Argotune:\n        checks: [{check}]"
    )

    def text(**settings: str) -> str:
        base = workspace("50", **settings)
        return f"{changed({'tuning/config': 'my-config'}, base=base)}---\n{config}"

    assert problem_of(text(**{"at-cost-limit": "push"})) == (
        "metadata.annotations.argotune.dev/at-cost-limit: push keeps 600 s of the node back for the"
        f" evaluation, and check {name}, may take longer, so the run would be stopped before its"
        " push; accepted is stop, or a training_config without the check"
    )
    planned(text())
    planned(text(**{"at-cost-limit": "push", "gate": "off"}))


def test_the_cheapest_of_the_alternatives_decides() -> None:
    dear = {"resource/instanceType": "Standard_NC40ads_H100_v5"}
    assert "costs at least" in problem_of(changed(dear, base=workspace("0.2")))
    cheaper = {"alternative-instance-types": "Standard_NC24ads_A100_v4"}
    planned(changed(dear, base=workspace("0.2", **cheaper)))


def test_a_machine_without_a_known_price_is_refused_by_name() -> None:
    assert problem_of(workspace("5", **{"alternative-instance-types": "Standard_Other"})) == (
        f"{HERE}: 5, but the price of Standard_Other is not known; take machines with a price in "
        "`argotune plan --all`, or limit their time with node-lifetime-seconds"
    )
