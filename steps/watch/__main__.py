from argotune.steps.common.main import main
from argotune.steps.watch.params import Params, Result
from argotune.steps.watch.run import run

main(Params, Result, run)
