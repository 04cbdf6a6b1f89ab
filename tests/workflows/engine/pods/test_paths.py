from pathlib import Path

import pytest

from argotune.workflows.engine.pods.paths import PathMap

MAP = PathMap({"/x/work": Path("/host/w"), "/x/work/deep/": Path("/host/d")})


@pytest.mark.parametrize(
    ("text", "mapped"),
    [
        ("/x/work", "/host/w"),
        ("/x/work/y", "/host/w/y"),
        ("/x/work/deep/z", "/host/d/z"),
        ("/x/work/deeper", "/host/w/deeper"),
        ("--a=/x/work/y", "--a=/host/w/y"),
        ("oci:/x/work", "oci:/host/w"),
        ("file:///x/work/y", "file:///host/w/y"),
        ("a:/x/work:/x/work/deep", "a:/host/w:/host/d"),
        ("cat '/x/work/f' >/x/work/g", "cat '/host/w/f' >/host/w/g"),
        ("see /x/work.", "see /host/w."),
        ("/data/x/work", "/data/x/work"),
        ("/x/workshop", "/x/workshop"),
        ("/x/work-2", "/x/work-2"),
        ("/x/work.tar", "/x/work.tar"),
        ("$HOME/x/work", "$HOME/x/work"),
        ("${HOME}/x/work", "${HOME}/x/work"),
        ("./x/work", "./x/work"),
        ("https://host/x/work", "https://host/x/work"),
    ],
)
def test_only_whole_paths_are_mapped(text: str, mapped: str) -> None:
    assert MAP.to_host(text) == mapped


def test_what_a_process_wrote_is_said_in_container_paths() -> None:
    assert MAP.to_container("adapter=/host/w/a /host/w2") == "adapter=/x/work/a /host/w2"


def test_the_longest_path_holds_a_file() -> None:
    assert MAP.host_of("/x/work/deep/f") == Path("/host/d/f")
    assert MAP.host_of("/x/work/deeper") == Path("/host/w/deeper")
    assert MAP.host_of("/tmp/f") is None
