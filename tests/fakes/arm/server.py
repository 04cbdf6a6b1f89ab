"""The cloud's HTTP: Azure Resource Manager, and the token endpoint of Entra beside it."""

from __future__ import annotations

import json
import re
import secrets
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar
from urllib.parse import urlsplit

from tests.fakes.arm.state import Answer, Cloud, Fault, error
from tests.fakes.listening import KeepAlive, listening

_POOLS = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.ContainerService"
    r"/managedClusters/[^/]+/agentPools(?:/(?P<name>[^/]+))?"
)
_CLUSTER = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.ContainerService"
    r"/managedClusters/(?P<name>[^/]+)(?P<permissions>/providers/Microsoft\.Authorization/permissions)?"
)
_OPERATION = re.compile(
    r"/subscriptions/[^/]+/providers/Microsoft\.ContainerService/locations/[^/]+"
    r"/operations/(?P<name>[^/]+)"
)
_COMPUTE = re.compile(
    r"/subscriptions/[^/]+/providers/Microsoft\.Compute/(?P<list>skus|locations/[^/]+/usages)"
)
_TOKEN = re.compile(r"/[^/]+/oauth2/v2\.0/token")
_CONFIGURATION = re.compile(r"/(?P<tenant>[^/]+)/v2\.0/\.well-known/openid-configuration")


class _Handler(KeepAlive):
    cloud: ClassVar[Cloud]

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        if _TOKEN.fullmatch(url.path):
            refused = self._fault(self.cloud.token_faults)
            answer = Answer(refused.status, refused.body) if refused else self._token()
            self._answer(answer)
            return
        if found := _CONFIGURATION.fullmatch(url.path):
            self._answer(self._configuration(found["tenant"]))
            return
        with self.cloud.lock:
            self.cloud.requests.append(f"{self.command} {self.path}")
            self.cloud.settle()
            fault = self._fault(self.cloud.faults)
            if fault is None:
                self._answer(self._arm(url.path, url.query, body))
                return
            if fault.carry_out:
                self._arm(url.path, url.query, body)
        if fault.drop:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._answer(Answer(fault.status, fault.body, fault.headers))

    do_PUT = do_DELETE = do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: tests read `Cloud.requests`."""

    def _fault(self, faults: list[Fault]) -> Fault | None:
        for fault in faults:
            if fault.times and fault.method == self.command and re.search(fault.path, self.path):
                fault.times -= 1
                return fault
        return None

    def _arm(self, path: str, query: str, body: bytes) -> Answer:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.cloud.tokens:
            return error(401, "InvalidAuthenticationToken", "The access token is invalid.")
        if "api-version=" not in query:
            return error(400, "MissingApiVersionParameter", "api-version is required")
        if found := _POOLS.fullmatch(path):
            return self._pools(path, found["name"], body)
        if found := _CLUSTER.fullmatch(path):
            if found["permissions"]:
                return self._page(self.cloud.permissions, path, query)
            cluster = {"id": path, "name": found["name"], "location": self.cloud.location}
            return Answer(200, cluster)
        if found := _OPERATION.fullmatch(path):
            return self.cloud.operation(found["name"])
        if found := _COMPUTE.fullmatch(path):
            items = self.cloud.skus if found["list"] == "skus" else self.cloud.usages
            return self._page(items, path, query)
        return error(404, "NotFound", f"{path} is not there")

    def _pools(self, path: str, name: str | None, body: bytes) -> Answer:
        if name is None:
            return Answer(200, {"value": [pool.json() for pool in self.cloud.pools.values()]})
        if self.command == "PUT":
            only_new = self.headers.get("If-None-Match") == "*"
            etag = self.headers.get("If-Match")
            return self.cloud.put(
                path,
                name,
                json.loads(body),
                only_new=only_new,
                etag=None if etag is None else etag.strip('"'),
            )
        if self.command == "DELETE":
            return self.cloud.delete(path, name)
        pool = self.cloud.pools.get(name)
        if pool is None:
            return error(404, "NotFound", f"agent pool {name} is not there")
        return Answer(200, pool.json())

    def _page(self, items: list[dict[str, object]], path: str, query: str) -> Answer:
        """Two pages, so that nobody forgets the second."""
        half = (len(items) + 1) // 2
        if "page=2" in query:
            return Answer(200, {"value": items[half:]})
        following = f"{self.cloud.url}{path}?{query}&page=2"
        return Answer(200, {"value": items[:half], "nextLink": following})

    def _token(self) -> Answer:
        token = secrets.token_hex(16)
        self.cloud.tokens.add(token)
        return Answer(200, {"token_type": "Bearer", "expires_in": 3600, "access_token": token})

    def _configuration(self, tenant: str) -> Answer:
        base = f"{self.cloud.url}/{tenant}"
        return Answer(
            200,
            {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
            },
        )

    def _answer(self, answer: Answer) -> None:
        if isinstance(answer.body, str):
            content, kind = answer.body.encode(), "text/html"
        else:
            content = b"" if answer.body is None else json.dumps(answer.body).encode()
            kind = "application/json; charset=utf-8"
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if content:
            self.send_header("Content-Type", kind)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()


@contextmanager
def serving(
    cloud: Cloud,
    tls: ssl.SSLContext | None = None,
    *,
    address: tuple[str, int] = ("127.0.0.1", 0),
    host: str | None = None,
) -> Iterator[str]:
    """Serve the cloud until the block ends; gives its URL, by `host` where it has another name."""
    scheme = "http" if tls is None else "https"
    with listening(_Handler, address=address, tls=tls, cloud=cloud) as port:
        cloud.url = f"{scheme}://{host or address[0]}:{port}"
        yield cloud.url
