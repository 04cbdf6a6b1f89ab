"""Keep the report of an evaluation of several models in the registry."""

from argotune.steps.common.main import main
from argotune.steps.push.side_by_side.params import Params, Result
from argotune.steps.push.side_by_side.run import run

main(Params, Result, run)
