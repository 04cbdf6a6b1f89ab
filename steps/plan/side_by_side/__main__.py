"""Plan an evaluation of several models: find them, and settle base, batch and machine."""

from argotune.steps.common.main import main
from argotune.steps.plan.side_by_side.params import Params, Result
from argotune.steps.plan.side_by_side.run import run

main(Params, Result, run)
