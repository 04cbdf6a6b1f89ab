from argotune.steps.common.imports import lasting_imports
from argotune.steps.common.main import main
from argotune.steps.common.progress import Progress
from argotune.steps.tune.params import Params, Result


def _run(params: Params, /, *, progress: Progress) -> Result:
    # Imported within the step, because torch takes half a GiB and seconds to import, and a
    # container too small for that should report it.
    with lasting_imports():
        from argotune.steps.tune.run import run

    return run(params, progress=progress)


main(Params, Result, _run)
