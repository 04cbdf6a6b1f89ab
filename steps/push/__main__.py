from steps.common.main import main
from steps.push.params import Params, Result
from steps.push.run import run

main(Params, Result, run)
