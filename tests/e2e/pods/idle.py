"""python -m tests.e2e.pods.idle: stay, for `kubectl exec`."""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
