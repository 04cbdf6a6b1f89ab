from steps.common.main import main
from steps.tune.params import Params, Result
from steps.tune.run import run

main(Params, Result, run)
