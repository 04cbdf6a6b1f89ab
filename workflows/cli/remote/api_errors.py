"""The API server's errors in the command line's terms, with what to do about each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from argotune.steps.cluster.errors import ApiError, ApiRefusal, NoCluster, NoConnection, Unreachable
from argotune.steps.common.errors import TransientError
from argotune.workflows.cli.errors import CliError


class ClusterError(CliError):
    """The cluster did not carry out a request."""

    def __init__(self, problem: str, cause: ApiError) -> None:
        super().__init__(problem)
        self.may_pass = isinstance(cause, TransientError)
        """Whether the same request may succeed in a moment."""
        self.is_refused = isinstance(cause, Unreachable) and cause.is_refused
        """Whether nothing listens where the API server should."""


class ClusterRefusal(ClusterError):
    """The cluster answered with an error status."""

    def __init__(self, problem: str, cause: ApiRefusal) -> None:
        super().__init__(problem, cause)
        self.status = cause.status
        """The HTTP status."""


def may_pass(error: Exception) -> bool:
    """Whether what failed so may succeed in a moment."""
    return isinstance(error, TransientError) or (isinstance(error, ClusterError) and error.may_pass)


@contextlib.contextmanager
def explain_errors(
    what: str, say_refusal: Callable[[ApiRefusal], str] | None = None
) -> Iterator[None]:
    """Raise ClusterError for an error of the API server.

    `what` is the requested object or kind; `say_refusal` gives another text for a refusal.
    """
    try:
        yield
    except ApiRefusal as error:
        problem = say_refusal(error) if say_refusal else f"{what}: {_refusal(error)}"
        raise ClusterRefusal(problem, error) from error
    except NoConnection as error:
        raise ClusterError(f"{what}: {reason_of(error)}", error) from error
    except ApiError as error:
        raise ClusterError(reason_of(error), error) from error


def reason_of(error: ApiError) -> str:
    """Say why the cluster carried out no request at all."""
    if isinstance(error, NoCluster):
        return f"no cluster: {error.reason}; set KUBECONFIG or make ~/.kube/config"
    if isinstance(error, NoConnection):
        return f"no connection to the cluster: {error.reason}"
    if isinstance(error, Unreachable):
        return f"cluster {error.host} does not answer: {error.reason}"
    return str(error)


def _refusal(error: ApiRefusal) -> str:
    said = f"the cluster answers {error.status}: {error.message}"
    advice = _advice(error)
    return f"{said}; {advice}" if advice else said


def _advice(error: ApiRefusal) -> str:
    if error.status == 401:
        return "log in again"
    if error.status == 403:
        return "ask for that right; the Role argotune-user of `argotune install` has what is needed"
    if error.status != 404:
        return ""
    if error.message.startswith("namespaces "):
        return "`argotune install --create-namespace` makes it"
    return "" if error.is_of_object else "is Argo Workflows installed in this cluster?"
