from argotune.steps.common.imports import lasting_imports
from argotune.steps.common.main import service_main
from argotune.steps.serve.params import Params


def _serve(params: Params) -> None:
    # Imported when the flags are right, because torch takes half a GiB and seconds to import.
    with lasting_imports():
        from argotune.steps.serve.load import load_engine
        from argotune.steps.serve.run import serve

    serve(params, load_engine)


service_main(Params, _serve)
