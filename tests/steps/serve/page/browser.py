"""A headless Chromium that tests drive: its DevTools protocol over two pipes, one page a test.

https://chromedevtools.github.io/devtools-protocol/; a message is JSON with a NUL after it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
"""Chromium or its like; empty where there is none."""
_FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-extensions",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
)


class Browser:
    """A browser that runs."""

    def __init__(self, commands: int, events: int) -> None:
        self._commands = os.fdopen(commands, "wb", buffering=0)
        self._events = os.fdopen(events, "rb")
        self._number = 0
        self.problems: list[str] = []
        """What scripts failed with, and what the pages' policies refused."""

    def send(self, method: str, session: str | None = None, **params: Any) -> Any:
        """Send a command, and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        self._commands.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def open(self, url: str) -> Page:
        """Open a page of its own."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, attached["sessionId"])
        for domain in ("Runtime", "Log", "Page"):
            page.send(f"{domain}.enable")
        page.send("Page.navigate", url=url)
        return page

    def close(self) -> None:
        """End it."""
        self.send("Browser.close")
        self._commands.close()
        self._events.close()

    def _read(self) -> bytes:
        """One message: they are small, and the file is buffered."""
        content = bytearray()
        while (byte := self._events.read(1)) != b"\0":
            assert byte, "the browser has ended"
            content += byte
        return bytes(content)

    def _note(self, event: dict[str, Any]) -> None:
        if event["method"] == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(event["params"]["exceptionDetails"]))
        if event["method"] == "Log.entryAdded":
            entry = event["params"]["entry"]
            # A refused request is told of as an error of the network.
            if entry["level"] == "error" and entry["source"] != "network":
                self.problems.append(entry["text"])


class Page:
    """A page of a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser = browser
        self._session = session

    def send(self, method: str, **params: Any) -> Any:
        """Send a command about this page."""
        return self.browser.send(method, self._session, **params)

    def value(self, expression: str) -> Any:
        """Evaluate JavaScript; a promise is waited for."""
        found = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until it is true."""
        self.value(
            "new Promise((done) => { const look = () =>"
            f" ({expression}) ? done(true) : setTimeout(look, 5); look(); }})"
        )

    def type(self, text: str) -> None:
        """Type a text where the cursor is, and the Enter key."""
        self.send("Input.insertText", text=text)
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, **key)

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements that a CSS selector finds."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return [*self.value(f"{found}.map((each) => each.textContent)")]


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, which ends with the block."""
    to_read, commands = os.pipe()
    events, to_write = os.pipe()
    # It reads commands from descriptor 3 and writes to 4.
    flags = " ".join([*_FLAGS, f"--user-data-dir='{profile}'"])
    command = f"exec '{PROGRAM}' {flags} 3<&{to_read} 4>&{to_write}"
    process = subprocess.Popen(
        ["bash", "-c", command],
        pass_fds=(to_read, to_write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(to_write)
    browser = Browser(commands, events)
    try:
        yield browser
        browser.close()
    finally:
        process.terminate()
        process.wait()
