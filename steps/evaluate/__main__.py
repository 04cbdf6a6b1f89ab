from argotune.steps.common.main import main
from argotune.steps.common.progress import Progress
from argotune.steps.evaluate.params import Params, Result


def _run(params: Params, /, *, progress: Progress) -> Result:
    # Imported within the step, because torch takes half a GiB and seconds to import, and a
    # container too small for that should report it.
    from argotune.steps.evaluate.run import run

    return run(params, progress=progress)


main(Params, Result, _run)
