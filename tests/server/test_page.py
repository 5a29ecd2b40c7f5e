"""The page in a browser, on a desktop and on a phone, with the real server."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgefr.camera.watcher import Watcher
from tests.camera.conftest import Door
from tests.camera.people import frame
from tests.waiting import wait_for

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
TOKEN = "a token of some length"  # noqa: S105


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def page(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A tab in which no script may fail, and nothing may violate the content security policy."""
    width, height = request.param
    opened = chromium.new_page(viewport={"width": width, "height": height})
    opened.set_default_timeout(15_000)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda entry: faults.append(entry.text) if "Content Security" in entry.text else None)
    yield opened
    opened.close()
    assert faults == []


def open_view(page: Any, view: str) -> None:
    page.get_by_role("link", name=view).click()
    assert page.evaluate("document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth")


def wait_for_picture(page: Any) -> None:
    wait_for(lambda: page.evaluate("document.getElementById('picture').naturalWidth > 0"))


def photo(folder: Path, name: str, person: int, at: float) -> Path:
    path = folder / name
    cv2.imwrite(str(path), cv2.cvtColor(frame(at, (person, 60, 40)).image, cv2.COLOR_RGB2BGR))
    return path


def test_the_face_in_view_is_enrolled_and_removed(page: Any, served: str) -> None:
    name = "Émilie <b>du</b> Châtelet"  # shown as text, not as HTML
    page.goto(served)
    wait_for_picture(page)
    page.locator("#faces label", has_text="Unknown").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Enrol").click()
    page.locator("#enrol-message:not(.bad)", has_text=f"Enrolled {name} with 1 image.").wait_for()
    open_view(page, "Events")
    page.locator("#event-list li[data-what=identified]", has_text=name).wait_for()
    open_view(page, "People")
    page.get_by_label("Filter by name").fill("emilie")
    assert page.locator("#people-list strong").all_inner_texts() == [name]
    page.get_by_role("button", name=f"Remove {name}").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    page.locator("#people-message", has_text="has been removed").wait_for()
    page.get_by_label("Filter by name").fill("")
    assert page.locator("#people-list strong").all_inner_texts() == ["Ada", "Grace"]


def test_nobody_is_removed_without_a_confirmation(page: Any, served: str) -> None:
    page.goto(served)
    open_view(page, "People")
    page.get_by_role("button", name="Remove Ada").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Remove Grace").click()
    page.keyboard.press("Enter")  # the focus is on Cancel first
    page.reload()
    page.get_by_role("button", name="Remove Grace").wait_for()
    assert page.locator("#people-list strong").all_inner_texts() == ["Ada", "Grace"]


def test_an_enrolment_without_a_selected_face_is_refused(page: Any, served: str) -> None:
    page.goto(served)
    page.get_by_label("Name", exact=True).fill("Eve")
    page.get_by_role("button", name="Enrol").click()
    page.locator("#enrol-message.bad", has_text="Select a face first.").wait_for()


def test_two_photographs_are_compared(page: Any, served: str, tmp_path: Path) -> None:
    page.goto(served)
    open_view(page, "Compare")
    page.get_by_label("First photograph").set_input_files(photo(tmp_path, "ada.png", 1, 0))
    for name, person, verdict in (("again.png", 1, "Same person"), ("grace.png", 2, "Different people")):
        page.get_by_label("Second photograph").set_input_files(photo(tmp_path, name, person, 3))
        page.locator("#result .answer", has_text=verdict).wait_for()
        for crop in page.locator("#result .crops img").all():
            assert crop.evaluate("image => image.decode().then(() => image.naturalWidth)") == 112
    assert (
        "threshold of 0.70, which about 1 in 1,000 pairs of different people reach"
        in page.locator("#result .meaning").inner_text()
    )
    assert page.evaluate("document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth")


def test_two_photographs_dropped_at_once_are_compared(page: Any, served: str, tmp_path: Path) -> None:
    page.goto(served)
    open_view(page, "Compare")
    photos = [photo(tmp_path, "ada.png", 1, 0), photo(tmp_path, "again.png", 1, 3)]
    encoded = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in photos]
    dragged = page.evaluate_handle(
        """photos => photos.reduce((dragged, [name, bytes]) => {
            const file = Uint8Array.from(atob(bytes), letter => letter.charCodeAt(0));
            dragged.items.add(new File([file], name, { type: "image/png" }));
            return dragged;
        }, new DataTransfer())""",
        encoded,
    )
    page.locator(".photo").first.dispatch_event("drop", {"dataTransfer": dragged})
    page.locator("#result .answer", has_text="Same person").wait_for()
    assert page.locator("#result .crops img").count() == 2
    assert page.url.startswith(served)  # a dropped photograph does not replace the page


def test_an_unreadable_photograph_is_named(page: Any, served: str, tmp_path: Path) -> None:
    (tmp_path / "none.png").write_bytes(b"no picture")
    page.goto(served)
    open_view(page, "Compare")
    page.get_by_label("First photograph").set_input_files(tmp_path / "none.png")
    page.get_by_label("Second photograph").set_input_files(photo(tmp_path, "ada.png", 1, 0))
    page.locator("#compare-message.bad", has_text="the first photograph").wait_for()


def test_a_token_opens_the_page_and_does_not_stay_in_the_address(page: Any, watcher: Watcher) -> None:
    with Door(watcher, token=TOKEN) as door:
        page.goto(door.url)
        page.get_by_label("Token").fill("another")
        page.get_by_role("button", name="Sign in").click()
        page.locator("#login-message.bad", has_text="The token is wrong.").wait_for()
        assert not page.locator("main").is_visible()
        page.goto(f"{door.url}#token={TOKEN.replace(' ', '%20')}")  # the same page with another fragment
        wait_for_picture(page)
        assert page.url == door.url


def test_a_server_that_does_not_answer_is_reported(page: Any, watcher: Watcher) -> None:
    with Door(watcher) as door:
        page.goto(door.url)
        wait_for_picture(page)
    page.get_by_role("alert").filter(has_text="The server does not answer").wait_for()
