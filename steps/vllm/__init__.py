"""The inference server on vLLM: serve's HTTP part before vLLM's engine, in an image of its own."""

import os

# vLLM reads them when it is imported. It would tell its makers how it is used, and fork a process
# that has threads.
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
