from argotune.steps.common.main import main
from argotune.steps.plan.params import Params, Result
from argotune.steps.plan.run import run

main(Params, Result, run)
