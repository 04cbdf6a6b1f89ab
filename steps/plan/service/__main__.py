"""Plan a service without training: its adapters, its memory, and its machine."""

from argotune.steps.common.main import main
from argotune.steps.plan.service.params import Params, Result
from argotune.steps.plan.service.run import run

main(Params, Result, run)
