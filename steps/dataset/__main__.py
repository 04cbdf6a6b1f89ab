from argotune.steps.common.main import main
from argotune.steps.dataset.params import Params, Result
from argotune.steps.dataset.run import run
from argotune.steps.tokens import leave_torch_out

leave_torch_out()
main(Params, Result, run)
