from steps.common.main import main
from steps.dataset.params import Params, Result
from steps.dataset.run import run

main(Params, Result, run)
