from steps.common.main import service_main
from steps.serve.params import Params
from steps.serve.run import serve

service_main(Params, serve)
