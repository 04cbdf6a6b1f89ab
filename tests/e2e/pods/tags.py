"""python -m tests.e2e.pods.tags HOST REPOSITORY AUTH_FILE CA_FILE: print the repository's tags as
a JSON object, tag to digest; the login is that of a docker config.json."""

from __future__ import annotations

import json
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_TIMEOUT_SECONDS = 30
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def main() -> None:
    host, repository, auth_file, ca_file = sys.argv[1:]
    login = json.loads(Path(auth_file).read_text())["auths"][host]["auth"]
    tls = ssl.create_default_context(cafile=ca_file)

    def get(path: str) -> Any:
        url = f"https://{host}/v2/{repository}/{path}"
        headers = {"Authorization": f"Basic {login}", "Accept": _MANIFEST}
        request = urllib.request.Request(url, headers=headers)
        return urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS, context=tls)

    try:
        # A registry that has lost its last tag says null.
        tags = json.load(get("tags/list"))["tags"] or []
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        tags = []
    digests = {tag: get(f"manifests/{tag}").headers["Docker-Content-Digest"] for tag in tags}
    print(json.dumps(digests))


if __name__ == "__main__":
    main()
