from argotune.steps.common.main import main
from argotune.steps.notify.params import Params, Result
from argotune.steps.notify.run import run

main(Params, Result, run)
