"""The facts of a run for a reader of its report or of the adapter's README, one line each.

Equal runs have equal facts, so that they give equal images: nothing measured in seconds is here.
"""

from __future__ import annotations

from argotune.steps.common.counted import counted
from argotune.steps.common.fields import text_of
from argotune.steps.contracts.start_adapter import start_of
from argotune.steps.contracts.steps_of_run import RunSteps
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.tune.params import Params, Result

Facts = dict[str, str]
"""What the fact is about -> the fact."""


def facts_of(params: Params, plan: TrainingPlan, run_steps: RunSteps) -> Facts:
    """What is known of a run before its first step."""
    training, lora = plan.training, plan.lora
    facts = {
        "run": ", ".join(filter(None, [params.run_name, params.created])),
        "data": params.dataset_summary,
        "data digest": params.dataset_digest,
        "method": _method(plan),
        "adapter": f"r {lora.r}, alpha {lora.alpha}, dropout {lora.dropout:g}"
        + (", rsLoRA" if lora.use_rslora else "")
        + (", DoRA" if lora.use_dora else ""),
        "begins with": start_of(params.work_dir, lora.start_from).title,
        "layers": ", ".join(sorted(lora.target_modules)),
        "longest row": f"{training.max_length} tokens",
        "optimizer": training.optim,
        "optimizer step": f"{run_steps.tokens_per_step} tokens",
        "learning rate": f"{training.learning_rate:g}, {training.scheduler}, warm-up "
        f"{training.warmup}",
        "weight decay": f"{training.weight_decay:g}",
        "length of run": f"{counted(run_steps.epochs, 'epoch')}, "
        f"{counted(run_steps.total, 'step')}",
        "seed": str(training.seed),
    }
    return {name: fact for name, fact in facts.items() if fact}


def results_of(result: Result) -> Facts:
    """What the run came to."""
    return {
        "optimizer steps": str(result.steps),
        "held-out loss of the base model": text_of(result.base_loss),
        "held-out loss of the adapter": text_of(result.tuned_loss),
        "loss of the last steps": text_of(result.train_loss),
    }


def _method(plan: TrainingPlan) -> str:
    if plan.quantization is None:
        return plan.method
    double = " with double quantisation" if plan.quantization.double_quant else ""
    return f"{plan.method}, {plan.quantization.quant_type}{double}"
