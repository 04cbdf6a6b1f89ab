from steps.common.main import main
from steps.deploy.params import Params, Result
from steps.deploy.run import run

main(Params, Result, run)
