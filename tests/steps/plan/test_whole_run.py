"""What the plan step refuses for the steps after it, whoever submitted the run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts.training_plan import dump_plan
from argotune.steps.plan.params import Params
from argotune.steps.plan.whole_run import gate_of_run, plan_of_run, speeds_of_run
from tests.steps.plan.helpers import config, params

GOOD = {
    "name": "phi",
    "urls": '["https://example.com/a.parquet"]',
    "output-image": "registry.example.com/me/phi:1",
}
A100 = "Standard_NC24ads_A100_v4"
CLUSTER_ID = (
    "/subscriptions/26fe00f8-9173-4872-9134-bb1d2e00343a/resourceGroups/team/providers/"
    "Microsoft.ContainerService/managedClusters/prod"
)


def submitted(plan: Params | None = None, **settings: str) -> Params:
    """The plan step of a run with these settings; an installer's begins with `installed_`."""
    given = {name.replace("_", "-"): text for name, text in settings.items()}
    installed = {
        name.removeprefix("installed-"): given.pop(name)
        for name in list(given)
        if name.startswith("installed-")
    }
    return replace(
        plan or params(), settings=json.dumps({**GOOD, **given}), installed=json.dumps(installed)
    )


def problems_of(wanted: Params) -> list[str]:
    with pytest.raises(ParamsError) as caught:
        plan_of_run(wanted)
    return caught.value.problems


def test_a_run_that_every_step_takes_is_planned() -> None:
    assert plan_of_run(submitted()).model.preset == "tiny"


def test_the_plan_does_not_depend_on_where_the_data_come_from() -> None:
    """The image of the adapter has the plan's digest, and tune gets no URL besides."""
    urls = ["https://example.com/a.parquet", "hf://datasets/me/rows/data", "s3://rows/data/"]
    plans = {dump_plan(plan_of_run(submitted(urls=json.dumps([url])))) for url in urls}
    assert len(plans) == 1


def test_the_gate_has_a_digest_of_what_it_judges_by() -> None:
    usual = gate_of_run(submitted())
    assert usual == gate_of_run(submitted(min_improvement="0.000")), "the default"
    # What becomes of a run is not what the adapter is judged by, nor where it was tuned.
    others = submitted(on_rejected="fail", allow_cpu="true", installed_allowed_hosts='["a.io"]')
    assert usual == gate_of_run(others)
    changed = [
        {"gate": "off"},
        {"min_improvement": "0.1"},
        {"min_improvement_over_live": "-0.1"},
        {"gate_confidence": "0.9"},
        {"without_held_out_rows": "reject"},
        {"gate_answers": "9"},
        {"gate_answer_tokens": "64"},
    ]
    assert len({usual, *(gate_of_run(submitted(**each)) for each in changed)}) == 1 + len(changed)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"output_image": ""}, "output-image: empty; give REGISTRY/REPOSITORY:TAG"),
        ({"output_image": "UP/case:1"}, "output-image: 'UP/case:1': 'UP' is not a component"),
        ({"urls": "[]"}, "urls: empty; give a JSON list of URLs"),
        (
            {"urls": '["https://example.com/a", "http://169.254.169.254/x?sig=hunter2"]'},
            "urls: [1]: 'http://169.254.169.254/x': a cloud's metadata service",
        ),
        ({"service_memory": "lots"}, "service-memory: 'lots'; accepted is a quantity"),
        ({"tune_memory": "1e3"}, "tune-memory: '1e3'; accepted is a quantity"),
        ({"max_cost_usd": "5"}, "max-cost-usd: 5 with provider existing, which makes no node"),
        ({"spot_max_price_usd_per_hour": "x"}, "spot-max-price-usd-per-hour: 'x'; accepted is"),
        ({"capacity_types": '["cheap"]'}, 'capacity-types: \'["cheap"]\'; accepted is ["regular"]'),
        ({"zones": "1"}, "zones: '1' is not a JSON list of strings"),
        ({"aks_gpu_driver": "Own"}, "aks-gpu-driver: 'Own'; accepted is Install or None"),
        (
            {"push_secret": "payroll", "installed_allowed_secrets": '["argotune-push"]'},
            "push-secret: 'payroll' is not among the Secrets that the installation allows: ",
        ),
        (
            {"priority_class": "urgent", "installed_allowed_priority_classes": "[]"},
            "priority-class: 'urgent' is not among the PriorityClasses that the installation "
            "allows: none; an administrator adds it by `argotune install --allow-priority-class",
        ),
    ],
)
def test_what_a_later_step_would_refuse_is_refused_by_the_settings_name(
    settings: dict[str, str], problem: str
) -> None:
    (found,) = problems_of(submitted(**settings))
    assert found.startswith(problem)
    assert "hunter2" not in found


def test_all_problems_are_told_at_once_and_each_once() -> None:
    wrong = replace(params(), name="Not-A-Label", preset="gpt-5")
    heads = [
        problem.partition(":")[0]
        for problem in problems_of(
            submitted(wrong, name="Not-A-Label", output_image="", keep_node_seconds="-1")
        )
    ]
    assert heads == ["name", "preset", "keep-node-seconds", "output-image"]


def judged_by(url: str) -> Params:
    judge = {"kind": "judge", "url": url, "model": "m", "prompt": "Score {answer}", "min": 0.5}
    return params(config=config(f"Argotune: {{checks: [{json.dumps(judge)}]}}"))


def test_servers_that_the_installation_does_not_permit_are_told_at_once() -> None:
    """The judge would be asked after the training was paid for."""
    given = {
        "urls": '["http://mirror.svc/a", "https://example.com/b"]',
        "validation_urls": '["https://example.com:8443/c?sig=hunter2"]',
    }
    plan = judged_by("http://judge:8000/v1")
    advice = "permits it to all runs of the namespace"
    assert problems_of(submitted(plan, **given, installed_allowed_hosts="[]")) == [
        "urls: [0]: 'http://mirror.svc/a': mirror.svc is inside a private network; `argotune"
        f" install --allow-host mirror.svc` {advice}",
        "validation-urls: [0]: 'https://example.com:8443/c': port 8443 is neither 443 nor 80;"
        f" `argotune install --allow-host example.com:8443` {advice}",
        "config: url of check judge: 'http://judge:8000/v1': judge:8000 is inside a private"
        f" network; `argotune install --allow-host judge:8000` {advice}",
    ]
    allowed = '["mirror.svc", "example.com:8443", "judge"]'
    plan_of_run(submitted(plan, **given, installed_allowed_hosts=allowed))


def test_a_default_secret_may_be_missing_from_those_that_are_allowed() -> None:
    plan_of_run(submitted(push_secret="argotune-push", installed_allowed_secrets='["team-*"]'))


def test_what_the_installation_lacks_is_the_administrators() -> None:
    plan = replace(params(preset="phi-4", instance_type=A100), provider="aks")
    wanted = {"provider": "aks", "instance_type": A100}
    assert problems_of(submitted(plan, **wanted)) == [
        "aks-cluster-id: empty; give what `az aks show --query id --output tsv` prints; an "
        "administrator sets it by `argotune install --aks-cluster-id`"
    ]


def test_this_machine_is_no_provider_of_a_cluster() -> None:
    """The installed template permits no files of the machine itself; `argotune run` does."""
    (found,) = problems_of(submitted(provider="local", installed_allow_files="false"))
    assert found == (
        "provider: 'local' is this machine; accepted on a cluster is existing or aks or karpenter"
    )
    plan_of_run(submitted(provider="local", installed_allow_files="true"))


@pytest.mark.parametrize("name", ["output-image", "start-from"])
def test_a_directory_of_this_machine_is_no_image_of_a_cluster(name: str) -> None:
    given = {**GOOD, name: "oci:/data/out"}
    assert problems_of(submitted(**given, installed_allow_files="false")) == [
        f"{name}: 'oci:/data/out' is a directory, and a pod has only its own; name an image of a"
        " registry"
    ]
    plan_of_run(submitted(**given, installed_allow_files="true"))


def test_an_approval_leaves_the_service_no_gpu_of_the_runs_node() -> None:
    plan = replace(params(preset="phi-4", instance_type=A100), provider="aks")
    wanted = {"provider": "aks", "instance_type": A100, "installed_aks_cluster_id": CLUSTER_ID}
    (problem,) = problems_of(submitted(plan, **wanted, approval="required"))
    assert problem.startswith("approval: 'required' with provider aks, whose node is given back")
    plan_of_run(submitted(plan, **wanted, approval="required", service_gpus="0"))


def test_the_plan_itself_is_handed_on() -> None:
    """Tiny is planned without a GPU, and a provider that makes GPU nodes would refuse that."""
    plan = replace(params(), provider="aks")
    found = problems_of(submitted(plan, provider="aks", installed_aks_cluster_id=CLUSTER_ID))
    (problem,) = [each for each in found if "--gpus" in each]
    assert problem.startswith("step provision: --gpus: 0 with provider aks, which makes GPU nodes")


@pytest.mark.parametrize(("limit", "is_refused"), [("0.1", True), ("0.2", False)])
def test_a_cost_limit_below_the_least_cost_is_refused(limit: str, *, is_refused: bool) -> None:
    plan = replace(params(preset="phi-4", instance_type=A100), provider="aks")
    wanted = submitted(
        plan,
        provider="aks",
        instance_type=A100,
        alternative_instance_types="[]",
        max_cost_usd=limit,
        installed_aks_cluster_id=CLUSTER_ID,
    )
    if is_refused:
        (found,) = problems_of(wanted)
        assert found.startswith("max-cost-usd: 0.1, but by its plan the run costs at least 0.18")
    else:
        plan_of_run(wanted)


def test_provision_is_told_the_speed_of_each_machine_that_a_cost_limit_is_for() -> None:
    plan = replace(params(preset="phi-4", instance_type=A100), provider="aks")
    wanted = {
        "provider": "aks",
        "instance_type": A100,
        "alternative_instance_types": '["Standard_NC40ads_H100_v5"]',
        "installed_aks_cluster_id": CLUSTER_ID,
    }
    given = submitted(plan, **wanted, max_cost_usd="5")
    speeds = speeds_of_run(given, plan_of_run(given))
    assert list(speeds) == [A100, "Standard_NC40ads_H100_v5"]
    assert speeds["Standard_NC40ads_H100_v5"] > speeds[A100] > 0
    unlimited = submitted(plan, **wanted)
    assert speeds_of_run(unlimited, plan_of_run(unlimited)) == {}


@pytest.mark.parametrize("text", ["[]", "{", '{"a": 1}'])
def test_settings_that_are_no_texts_by_name_are_refused(text: str) -> None:
    assert problems_of(replace(params(), settings=text)) == [
        f"--settings: {text!r} is not a JSON object of texts"
    ]


SCORED = "training_config: {Argotune: {checks: [{kind: scorer, scorer: tone, min: 0.5}]}}"


def test_a_scorer_that_the_installation_does_not_allow_is_refused() -> None:
    plan = params(config=SCORED)
    [problem] = problems_of(submitted(plan, installed_scorer_images='{"other": "image"}'))
    assert problem == (
        "check tone: 'tone' is not among the scorers that the installation allows: other; an"
        " administrator adds it by `argotune install --scorer-image tone=IMAGE@sha256:…`"
    )
    assert plan_of_run(submitted(plan, gate="off")).evaluation.scorers
    assert plan_of_run(submitted(plan, installed_scorer_images='{"tone": "image"}'))


def test_a_scorer_for_which_the_cost_limit_leaves_no_time_is_refused() -> None:
    plan = replace(params(preset="phi-4", instance_type=A100, config=SCORED), provider="aks")
    wanted = {
        "provider": "aks",
        "instance_type": A100,
        "max_cost_usd": "50",
        "installed_aks_cluster_id": CLUSTER_ID,
        "installed_scorer_images": '{"tone": "image"}',
    }
    [problem] = problems_of(submitted(plan, **wanted, at_cost_limit="push"))
    assert problem.startswith("at-cost-limit: push keeps 600 s of the node back for the evaluation")
    assert plan_of_run(submitted(plan, **wanted, at_cost_limit="stop"))


def test_what_does_not_fit_the_service_is_refused_with_what_later_steps_refuse() -> None:
    plan = params(engine="vllm", config="training_config: {LoraConfig: {use_dora: true}}")
    assert problems_of(submitted(plan, gate="maybe")) == [
        "engine: 'vllm', but the adapter is a DoRA adapter, which vLLM does not serve; take "
        "transformers, or auto",
        "engine: 'vllm', but the service has no GPU; give service-gpus 1; take transformers, or "
        "auto",
        "gate: 'maybe'; accepted is on or off",
    ]
    assert plan_of_run(submitted(replace(plan, deploy_to="none")))
