from argotune.steps.common.main import main
from argotune.steps.reject.params import Params, Result
from argotune.steps.reject.run import run

main(Params, Result, run)
