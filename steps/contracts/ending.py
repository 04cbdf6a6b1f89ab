"""How a server ends without losing a request: the times of the pod, of deploy and of the server.

1. The pod is taken from its Service, and the kubelet waits before SIGTERM, until no proxy and no
   ingress controller sends new connections any more.
2. On SIGTERM the server listens no more. For some seconds it still answers on the connections that
   it has, and closes each with its answer, so that a client with a pool of connections is not cut
   off while it sends a question.
3. What then still waits in the queue gets 503; what is being answered is answered to its end.

The kubelet kills what is left after the grace period, which so is the sum of these times.
"""

from __future__ import annotations

PRE_STOP_SECONDS = 10
"""Before SIGTERM; kube-proxy needs about a second, ingress controllers some."""
HAND_OVER_SECONDS = 5
"""For which a server that ends answers on the connections that it has."""
LONGEST_ANSWER_SECONDS = 300
"""A server gives up an answer after that time, the wait for its turn included."""
_PROCESS_END_SECONDS = 5
STOP_SECONDS = HAND_OVER_SECONDS + LONGEST_ANSWER_SECONDS + _PROCESS_END_SECONDS
"""From SIGTERM to the end of the process, at the longest."""
GRACE_PERIOD_SECONDS = PRE_STOP_SECONDS + STOP_SECONDS
"""terminationGracePeriodSeconds of the pod, which begins before the wait of the kubelet."""
