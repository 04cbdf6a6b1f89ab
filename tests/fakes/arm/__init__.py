"""Azure Resource Manager for agent pools, on a loopback socket: the unmodified SDK talks to it.

`state.py` is the cloud, `server.py` its HTTP. `python -m tests.fakes.arm` serves it to a cluster.
"""

from __future__ import annotations

from tests.fakes.arm.server import serving
from tests.fakes.arm.state import Cloud, Creation, Fault

__all__ = ["Cloud", "Creation", "Fault", "serving"]
