from argotune.steps.common.main import main
from argotune.steps.push.params import Params, Result
from argotune.steps.push.run import run

main(Params, Result, run)
