from argotune.steps.common.main import service_main
from argotune.steps.serve.params import Params
from argotune.steps.serve.run import serve

service_main(Params, serve)
