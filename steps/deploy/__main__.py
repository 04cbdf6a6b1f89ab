from argotune.steps.common.main import main
from argotune.steps.deploy.params import Params, Result
from argotune.steps.deploy.run import run

main(Params, Result, run)
