from argotune.steps.common.main import main
from argotune.steps.release.params import Params, Result
from argotune.steps.release.run import run

main(Params, Result, run)
