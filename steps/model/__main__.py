from argotune.steps.common.main import main
from argotune.steps.model.params import Params, Result
from argotune.steps.model.run import run

main(Params, Result, run)
