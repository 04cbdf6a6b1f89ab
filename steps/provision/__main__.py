from steps.common.main import main
from steps.provision.params import Params, Result
from steps.provision.run import run

main(Params, Result, run)
