from argotune.steps.common.main import main
from argotune.steps.common.progress import Progress
from argotune.steps.evaluate.side_by_side.params import Params, Result


def _run(params: Params, /, *, progress: Progress) -> Result:
    # As in the step evaluate: torch takes half a GiB and seconds to import.
    from argotune.steps.evaluate.side_by_side.run import run

    return run(params, progress=progress)


main(Params, Result, _run)
