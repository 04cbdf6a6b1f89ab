from steps.common.main import main
from steps.release.params import Params, Result
from steps.release.run import run

main(Params, Result, run)
