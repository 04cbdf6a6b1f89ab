"""Planning as a library: what the command line uses of this step, and all that it may use."""

from __future__ import annotations

from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.plan.alternatives import alternatives
from argotune.steps.plan.assemble import assemble
from argotune.steps.plan.base_model.find import (
    describe_base_model,
    find_base_model,
    own_preset,
    text_of_own,
)
from argotune.steps.plan.base_model.own import WrongPreset, parse_own_preset, write_own_preset
from argotune.steps.plan.checks import problems_outside_a_run, read_checks
from argotune.steps.plan.choose import Choice, Job, choose
from argotune.steps.plan.config import ROOT, document_keys
from argotune.steps.plan.cost import cost_limit_problem, trained_tokens
from argotune.steps.plan.hardware import Card
from argotune.steps.plan.keys import OWN_SECTION
from argotune.steps.plan.params import Params
from argotune.steps.plan.readers import WrongParts
from argotune.steps.plan.request import preset_of, read_request
from argotune.steps.plan.service.make import (
    find_service_substitution,
    make_service_plan,
    read_service_request,
    service_alternatives,
)
from argotune.steps.plan.service.of_run import RunService, cpu_memory, service_of_run
from argotune.steps.plan.service.params import Params as ServiceParams
from argotune.steps.plan.service.size import ServiceFit
from argotune.steps.plan.service.size import fits as service_fits
from argotune.steps.plan.settings import Settings
from argotune.steps.plan.side_by_side.models import OF_HUB
from argotune.steps.plan.skus import Fit, fits, refusal
from argotune.steps.plan.speed import SEVERAL_GPUS_SHARE, Span, anchors_of, hours, speed_of
from argotune.steps.plan.substitute import Substitution, find_substitution, problem_of_sku
from argotune.steps.plan.volume import DATA_GIB, volume_gib

__all__ = [
    "DATA_GIB",
    "OF_HUB",
    "OWN_SECTION",
    "ROOT",
    "SEVERAL_GPUS_SHARE",
    "Card",
    "Choice",
    "Fit",
    "Job",
    "Params",
    "RunService",
    "ServiceFit",
    "ServiceParams",
    "Settings",
    "Span",
    "Substitution",
    "WrongParts",
    "WrongPreset",
    "alternatives",
    "anchors_of",
    "choose",
    "cost_limit_problem",
    "cpu_memory",
    "describe_base_model",
    "document_keys",
    "find_base_model",
    "find_service_substitution",
    "find_substitution",
    "fits",
    "hours",
    "make_plan",
    "make_service_plan",
    "own_preset",
    "parse_own_preset",
    "preset_of",
    "problems_outside_a_run",
    "read_checks",
    "read_request",
    "read_service_request",
    "service_alternatives",
    "service_fits",
    "service_of_run",
    "speed_of",
    "text_of_own",
    "trained_tokens",
    "volume_gib",
    "write_own_preset",
]


def make_plan(params: Params) -> TrainingPlan:
    """Make the plan for the parameters. Raises ParamsError with all problems."""
    request = read_request(params)
    if request.sku is not None:
        problem = problem_of_sku(request.job, request.sku)
        if problem is not None:
            raise ParamsError(f"instance-type: {problem}")
    choice = choose(request.job, request.card)
    if choice is None:
        raise ParamsError(refusal(request.job, request.card))
    return assemble(params, request.job, request.card, choice, request.warnings)
