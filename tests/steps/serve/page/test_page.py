"""The page in a headless Chromium, before a server with a fake engine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from argotune.steps.contracts.model_card import write_card
from argotune.steps.serve.app import make_app
from argotune.steps.serve.keys import ClientKeys
from argotune.steps.serve.page.routes import add_page_routes
from tests.fakes.engine import ANSWER, CONTRACT, FakeEngine
from tests.steps.serve.conftest import listening, make_service
from tests.steps.serve.page.browser import PROGRAM, Browser, Page, chromium
from tests.steps.serve.page.test_routes import CARD

pytestmark = pytest.mark.skipif(not PROGRAM, reason="no Chromium is installed")

Open = Callable[..., Page]
ENDED = "document.getElementById('send').textContent === 'Ask'"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine("demo", slots=2)


@pytest.fixture
def opened(browser: Browser, engine: FakeEngine, tmp_path: Path) -> Iterator[Open]:
    """Opens the page of a server; at the end no script may have failed, and no policy broken."""
    with contextlib.ExitStack() as stack:

        def open_page(keys: ClientKeys | None = None, name: str = "demo") -> Page:
            app = make_app(make_service(engine, name=name), max_body_bytes=4096, keys=keys)
            write_card(tmp_path, CARD)
            add_page_routes(app, tmp_path, digest="sha256:i")
            url = str(stack.enter_context(listening(app)).base_url)
            page = browser.open(url)
            page.until(f"location.href === '{url}/' && document.readyState === 'complete'")
            page.value("document.getElementById('question').focus()")
            return page

        yield open_page
        engine.release()
    problems, browser.problems = browser.problems, []
    assert problems == []


def ask(page: Page, question: str) -> None:
    """Ask, and wait for the end of the answers."""
    page.type(question)
    page.until(ENDED)


def test_an_answer_grows_beside_the_base_models(opened: Open, engine: FakeEngine) -> None:
    page = opened()
    page.until("models.length === 2")
    page.value("document.getElementById('compare').click()")
    page.value("document.getElementById('question').focus()")
    page.value(
        "window.grown = []; new MutationObserver(() => grown.push(document.querySelector("
        "'.answer:last-child p')?.textContent)).observe(document.getElementById('talk'),"
        " {childList: true, subtree: true, characterData: true}); 0"
    )
    ask(page, "Who are you?")
    assert page.texts("h1, .answer h2, .question") == ["demo", "Who are you?", "base", "tuned"]
    base, tuned = page.texts(".answer p")
    assert tuned == ANSWER
    assert base.startswith("You asked: ")
    assert "Who are you?" in base
    seen = page.value("grown.filter((text) => text)")
    assert len({*seen}) > 2
    assert all(ANSWER.startswith(text) for text in seen)
    # The next question comes with what was said; the base has a conversation of its own.
    ask(page, "And why?")
    said = page.texts(".answers:last-child .answer p")[0]
    assert "Who are you?" in said
    assert ANSWER not in said


def test_what_is_said_is_text_and_never_markup(opened: Open) -> None:
    page = opened()
    page.until("models.length === 2")
    page.value("document.getElementById('compare').click()")
    page.value("document.getElementById('question').focus()")
    markup = "<img src=x onerror=\"document.title='bad'\">"
    ask(page, markup)
    assert page.texts(".question") == [markup]
    assert markup in page.texts(".answer p")[0]
    assert page.value("[document.images.length, document.title]") == [0, "demo"]


def waiting_page(opened: Open, engine: FakeEngine) -> Page:
    """A page whose question is not answered yet."""
    page = opened()
    page.until("models.length === 2")
    engine.hold()
    page.type("Who are you?")
    page.until("document.getElementById('send').textContent === 'Stop'")
    engine.wait_until_asked()
    return page


def test_the_button_ends_an_answer(opened: Open, engine: FakeEngine) -> None:
    page = waiting_page(opened, engine)
    page.value("document.getElementById('send').click()")
    page.until(ENDED)
    assert page.texts(".answer .end") == ["stopped"]


def test_a_new_conversation_knows_nothing_of_an_answer_that_was_being_made(
    opened: Open, engine: FakeEngine
) -> None:
    page = waiting_page(opened, engine)
    page.value("document.getElementById('new').click()")
    page.until(ENDED)
    engine.release()
    ask(page, "And why?")
    assert page.texts(".question") == ["And why?"]
    asked = engine.tokenizer.decode(engine.questions[-1].prompt)
    assert asked == "<|user|>And why?<|end|><|assistant|>"


def test_on_a_narrow_screen_the_newest_answer_is_above_the_field(opened: Open) -> None:
    page = opened()
    page.send(
        "Emulation.setDeviceMetricsOverride",
        width=390, height=500, deviceScaleFactor=1, mobile=True,
    )  # fmt: skip
    page.until("models.length === 2")
    for _ in range(4):
        ask(page, "Who are you?")
    answer, form, width = page.value(
        "[document.querySelector('.answers:last-child').getBoundingClientRect().bottom,"
        " document.getElementById('ask').getBoundingClientRect().top,"
        " document.documentElement.scrollWidth]"
    )
    assert answer <= form
    assert width == 390


def test_the_card_is_beside_the_conversation(opened: Open) -> None:
    page = opened()
    page.until("!document.getElementById('curve').hidden")
    assert page.texts("#about") == ["About demo"]
    assert page.texts("dt, dd") == ["image digest", "sha256:i", "data digest", "sha256:d"]
    held_out = page.value("document.querySelector('polyline.held').getAttribute('points')")
    assert len(held_out.split()) == len(CARD.held_out_loss)


def test_each_adapter_of_a_service_can_be_asked(opened: Open, engine: FakeEngine) -> None:
    engine.serve("second", CONTRACT)
    page = opened()
    page.until("models.length === 2")
    assert page.texts("#model option") == ["demo", "second"]
    page.value(
        "document.getElementById('model').value = 'second';"
        " document.getElementById('model').dispatchEvent(new Event('change'))"
    )
    ask(page, "Who are you?")
    assert page.texts(".answer h2") == ["second"]
    assert [question.adapter for question in engine.questions] == ["second"]


def test_a_service_without_training_is_its_base(opened: Open, engine: FakeEngine) -> None:
    page = opened(name="assistants")
    page.until("models.length === 1")
    assert page.texts("h1, #base") == ["assistants", "base model acme/random"]
    assert page.texts("#model option") == ["assistants", "demo"]
    ask(page, "Who are you?")
    assert page.texts(".answer h2") == ["base"]
    assert page.texts(".answer p")[0].startswith("You asked: ")


def test_a_server_with_keys_is_asked_with_the_one_that_is_given(
    opened: Open, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text("anna: sk-anna-0123456789\n")
    page = opened(keys=ClientKeys(tmp_path / "keys"))
    page.until("document.getElementById('base').textContent")
    assert page.value("document.getElementById('locked').hidden") is False
    assert page.texts("#base")[0].startswith("You didn't provide an API key.")
    page.value("document.getElementById('key').focus()")
    page.type("sk-anna-0123456789")
    page.until("models.length === 2")
    page.value("document.getElementById('question').focus()")
    ask(page, "Who are you?")
    assert page.texts(".answer p") == [ANSWER]
