from argotune.steps.common.main import main
from argotune.steps.provision.params import Params, Result
from argotune.steps.provision.run import run

main(Params, Result, run)
