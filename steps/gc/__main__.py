from argotune.steps.common.main import main
from argotune.steps.gc.params import Params, Result
from argotune.steps.gc.run import run

main(Params, Result, run)
