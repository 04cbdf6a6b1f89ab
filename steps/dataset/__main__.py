from argotune.steps.common.main import main
from argotune.steps.dataset.params import Params, Result
from argotune.steps.dataset.run import run

main(Params, Result, run)
