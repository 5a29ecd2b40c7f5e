"""The page in a browser: what a user does, on a desk and on a telephone, against the real server."""

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


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desk", "telephone"])
def page(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page in which no script may fail, and whose policy nothing may break."""
    width, height = request.param
    opened = chromium.new_page(viewport={"width": width, "height": height})
    opened.set_default_timeout(15_000)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
    yield opened
    opened.close()
    assert faults == []


def turn_to(page: Any, part: str) -> None:
    page.get_by_role("link", name=part).click()
    assert page.evaluate("document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth")


def see_the_picture(page: Any) -> None:
    for _ in range(150):
        if page.evaluate("document.getElementById('picture').naturalWidth > 0"):
            return
        page.wait_for_timeout(100)
    raise AssertionError("no live picture came")


def photo(folder: Path, name: str, person: int, at: float) -> Path:
    path = folder / name
    cv2.imwrite(str(path), cv2.cvtColor(frame(at, (person, 60, 40)).image, cv2.COLOR_RGB2BGR))
    return path


def test_the_face_in_view_is_enrolled_and_removed(page: Any, served: str) -> None:
    name = "Émilie <b>du</b> Châtelet"  # shown as it is written, not as HTML
    page.goto(served)
    see_the_picture(page)
    page.locator("#faces label", has_text="Unknown").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Enrol").click()
    page.locator("#enrol-said:not(.bad)", has_text=f"{name} is enrolled").wait_for()
    turn_to(page, "Events")
    page.locator("#happened li[data-what=identified]", has_text=name).wait_for()
    turn_to(page, "People")
    page.get_by_label("Filter by name").fill("emilie")
    assert page.locator("#gallery strong").all_inner_texts() == [name]
    page.get_by_role("button", name=f"Remove {name}").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    page.locator("#people-said", has_text="is removed").wait_for()
    page.get_by_label("Filter by name").fill("")
    assert page.locator("#gallery strong").all_inner_texts() == ["Ada", "Grace"]


def test_nobody_is_removed_by_somebody_who_hesitates(page: Any, served: str) -> None:
    page.goto(served)
    turn_to(page, "People")
    page.get_by_role("button", name="Remove Ada").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Remove Grace").click()
    page.keyboard.press("Enter")  # the button that has the focus at first keeps
    page.reload()
    page.get_by_role("button", name="Remove Grace").wait_for()
    assert page.locator("#gallery strong").all_inner_texts() == ["Ada", "Grace"]


def test_an_enrolment_without_a_face_is_refused(page: Any, served: str) -> None:
    page.goto(served)
    page.get_by_label("Name", exact=True).fill("Eve")
    page.get_by_role("button", name="Enrol").click()
    page.locator("#enrol-said.bad", has_text="Choose the face").wait_for()


def test_two_photographs_are_compared(page: Any, served: str, tmp_path: Path) -> None:
    page.goto(served)
    turn_to(page, "Compare")
    page.get_by_label("First photograph").set_input_files(photo(tmp_path, "ada.png", 1, 0))
    for name, person, verdict in (("again.png", 1, "The same person"), ("grace.png", 2, "Different people")):
        page.get_by_label("Second photograph").set_input_files(photo(tmp_path, name, person, 3))
        page.locator("#verdict .answer", has_text=verdict).wait_for()
        for crop in page.locator("#verdict .crops img").all():
            assert crop.evaluate("image => image.decode().then(() => image.naturalWidth)") == 112
    assert "threshold of 0.70, at which about 1 in 1,000 pairs" in page.locator("#verdict .meaning").inner_text()
    assert page.evaluate("document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth")


def test_two_photographs_dropped_at_once_are_compared(page: Any, served: str, tmp_path: Path) -> None:
    page.goto(served)
    turn_to(page, "Compare")
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
    page.locator("#verdict .answer", has_text="The same person").wait_for()
    assert page.locator("#verdict .crops img").count() == 2
    assert page.url.startswith(served)  # a dropped photograph does not open instead of the page


def test_what_cannot_be_compared_is_said(page: Any, served: str, tmp_path: Path) -> None:
    (tmp_path / "none.png").write_bytes(b"no picture")
    page.goto(served)
    turn_to(page, "Compare")
    page.get_by_label("First photograph").set_input_files(tmp_path / "none.png")
    page.get_by_label("Second photograph").set_input_files(photo(tmp_path, "ada.png", 1, 0))
    page.locator("#compare-said.bad", has_text="the first photograph").wait_for()


def test_a_token_opens_the_page_and_does_not_stay_in_the_address(page: Any, watcher: Watcher) -> None:
    with Door(watcher, token=TOKEN) as door:
        page.goto(door.url)
        page.get_by_label("Token").fill("another")
        page.get_by_role("button", name="Sign in").click()
        page.locator("#login-said.bad", has_text="expected the token").wait_for()
        assert not page.locator("main").is_visible()
        page.goto(f"{door.url}#token={TOKEN.replace(' ', '%20')}")  # the same page: only what follows # is new
        see_the_picture(page)
        assert page.url == door.url


def test_a_server_that_goes_away_is_said(page: Any, watcher: Watcher) -> None:
    with Door(watcher) as door:
        page.goto(door.url)
        see_the_picture(page)
    page.get_by_role("alert").filter(has_text="The server does not answer").wait_for()
