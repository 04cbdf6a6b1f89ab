from argotune.steps.common.imports import lasting_imports
from argotune.steps.common.main import service_main
from argotune.steps.serve.params import Params


def _serve(params: Params) -> None:
    # Imported when the flags are right, because vLLM takes seconds to import.
    with lasting_imports():
        from argotune.steps.serve.run import serve
        from argotune.steps.vllm.load import load_engine

    serve(params, load_engine)


service_main(Params, _serve)
