from steps.common.main import main
from steps.model.params import Params, Result
from steps.model.run import run

main(Params, Result, run)
