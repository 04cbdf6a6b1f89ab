"""Play Karpenter on the cluster of the kubeconfig: python -m tests.fakes.karpenter --help

Scripts are for the first claim, the second, ...; the last is for all further ones. On SIGTERM or
Ctrl-C its nodes are taken away and its claims let go.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from tests.fakes import nodes
from tests.fakes.karpenter.api import Api
from tests.fakes.karpenter.controller import Karpenter, running
from tests.fakes.karpenter.provisioner import Provisioner
from tests.fakes.karpenter.scripts import SCRIPTS


def main() -> None:
    """Work until told to end."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fakes.karpenter",
        description=f"{__doc__}\n{nodes.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--script", action="append", choices=sorted(SCRIPTS), required=True)
    parser.add_argument("--selector", default="argotune.dev/run", help="claims that are its own")
    parser.add_argument("--pool", help="make claims of this NodePool instead, for pods that wait")
    arguments = parser.parse_args()
    commands = nodes.Commands.of_environment()
    if commands is None:
        parser.error(f"{nodes.UP} and {nodes.DOWN} are not set")
    scripts = [SCRIPTS[name] for name in arguments.script]
    api = Api()
    provisioner = Provisioner(api, arguments.pool) if arguments.pool else None
    selector = provisioner.selector if provisioner else arguments.selector
    karpenter = Karpenter(api, scripts, commands, selector=selector, provisioner=provisioner)
    over = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: over.set())
    with running(karpenter):
        print("ready", flush=True)
        over.wait()
    for problem in karpenter.problems:
        print(problem, file=sys.stderr)


if __name__ == "__main__":
    main()
