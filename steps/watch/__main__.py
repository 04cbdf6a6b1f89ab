from steps.common.main import main
from steps.watch.params import Params, Result
from steps.watch.run import run

main(Params, Result, run)
