"""python -m tests.e2e.pods.unpack DIRECTORY: put the files of a tar archive on stdin there."""

from __future__ import annotations

import sys
import tarfile


def main() -> None:
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        archive.extractall(sys.argv[1])


if __name__ == "__main__":
    main()
