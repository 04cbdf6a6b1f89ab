"""Which replica works: the one that holds the Lease, by the official client's election."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from kubernetes import config
from kubernetes.client.exceptions import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock import leaselock

from argotune.workflows.cli.installation.operator import OPERATOR

# The client's election has no types.
_LeaseLock: Any = leaselock.LeaseLock
_Config: Any = electionconfig.Config
_LeaderElection: Any = leaderelection.LeaderElection

# client-go's defaults, of Kubernetes' own controllers.
_LEASE_SECONDS = 15
_RENEW_SECONDS = 10
_RETRY_SECONDS = 2


class Election:
    """The candidacy of this process."""

    def __init__(self, namespace: str, *, identity: str) -> None:
        """`identity` is the pod's name: its container, started again, goes on as the leader."""
        # The client says at each renewal that it renewed.
        logging.getLogger("leaderelection").setLevel(logging.WARNING)
        _log_in()
        self.identity = identity
        self._lock = _LeaseLock(OPERATOR, namespace, self.identity)

    def begin(self, *, on_start: Callable[[], object], on_loss: Callable[[], object]) -> None:
        """Stand for election in a thread, which tells of the begin and of the loss.

        The Lease may be lost without a word of the API server's, when it does not answer.
        """
        candidacy = _Config(
            self._lock,
            lease_duration=_LEASE_SECONDS,
            renew_deadline=_RENEW_SECONDS,
            retry_period=_RETRY_SECONDS,
            onstarted_leading=on_start,
            onstopped_leading=on_loss,
        )

        def stand() -> None:
            try:
                _LeaderElection(candidacy).run()
            finally:
                # An API server that does not answer raises what the client does not expect.
                on_loss()

        threading.Thread(target=stand, daemon=True, name="election").start()

    def resign(self) -> None:
        """Give the Lease back, so that the other replica need not wait for its end."""
        found, record = self._lock.get(self._lock.name, self._lock.namespace)
        if not found or record is None or record.holder_identity != self.identity:
            return
        lease = self._lock.lease_reference
        lease.spec.holder_identity = ""
        try:
            self._lock.api_instance.replace_namespaced_lease(
                self._lock.name, self._lock.namespace, lease
            )
        except ApiException as error:
            logging.getLogger(__name__).warning("the lease was not given back: %s", error.reason)


def _log_in() -> None:
    """Have the client talk to the cluster of this pod, or of the kubeconfig."""
    try:
        config.load_incluster_config()  # type: ignore[no-untyped-call]
    except config.ConfigException:
        config.load_kube_config()  # type: ignore[no-untyped-call]
