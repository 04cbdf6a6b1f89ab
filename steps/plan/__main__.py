from steps.common.main import main
from steps.plan.params import Params, Result
from steps.plan.run import run

main(Params, Result, run)
