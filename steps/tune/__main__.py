from argotune.steps.common.main import main
from argotune.steps.common.progress import Progress
from argotune.steps.tune.params import Params, Result


def _run(params: Params, /, *, progress: Progress) -> Result:
    # torch and what it brings take half a GiB and seconds to import: within the step, so that a
    # container too small even for that says so.
    from argotune.steps.tune.run import run

    return run(params, progress=progress)


main(Params, Result, _run)
