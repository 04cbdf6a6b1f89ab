from steps.common.main import main
from steps.gc.params import Params, Result
from steps.gc.run import run

main(Params, Result, run)
