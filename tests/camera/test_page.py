"""The page in a browser, as somebody uses it on a desk and on a telephone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from edgefr.camera.watch import Watcher
from tests.camera.conftest import Door
from tests.camera.people import frame

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install '.[dev]'")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
SHOTS = os.environ.get("EDGEFR_SCREENSHOTS")
"""A folder for pictures of the page, to be looked at."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[(1280, 900), (360, 740)], ids=["desk", "telephone"])
def page(chromium, request) -> Iterator[object]:
    width, height = request.param
    opened = chromium.new_page(
        viewport={"width": width, "height": height}, color_scheme="dark" if width < 500 else "light"
    )
    opened.set_default_timeout(15_000)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
    yield opened
    opened.close()
    assert faults == []


def until(page, script: str) -> None:
    """Wait for a script to be true: the page's own policy lets Playwright's `wait_for_function` evaluate nothing."""
    for _ in range(150):
        if page.evaluate(script):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never true: {script}")


def shot(page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS, f"{name}-{page.viewport_size['width']}.png")), full_page=True)


def test_watch_enrol_remove(page, served: str) -> None:
    page.goto(served)
    until(page, "document.getElementById('live').naturalWidth > 0")
    page.locator("#events li", has_text="Ada is here").wait_for()
    page.locator("#events li", has_text="Somebody unknown is here").wait_for()
    page.locator("#faces label", has_text="unknown").click()
    page.get_by_label("Name", exact=True).fill("Émilie <b>du</b> Châtelet")
    page.get_by_role("button", name="Enrol").click()
    page.locator("#enrol-answer", has_text="Émilie <b>du</b> Châtelet is enrolled.").wait_for()
    page.locator("#events li", has_text="Émilie <b>du</b> Châtelet is here").wait_for()
    shot(page, "watch")
    assert page.evaluate("document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth")
    page.get_by_label("Find a name").fill("émil")
    page.get_by_role("button", name="Remove Émilie").click()
    shot(page, "remove")
    page.locator("#sure").get_by_role("button", name="Remove").click()
    page.locator("#people-answer", has_text="is removed").wait_for()
    page.get_by_label("Find a name").fill("")
    assert page.locator("#people li").count() == 2


def test_who_keeps_somebody_keeps_them(page, served: str) -> None:
    page.goto(served)
    page.get_by_role("button", name="Remove Ada").click()
    page.get_by_role("button", name="Keep").click()
    assert page.locator("#people li", has_text="Ada").count() == 1


def test_two_photographs_are_compared(page, served: str, tmp_path: Path) -> None:
    for name, person in (("ada", 1), ("ada again", 1), ("grace", 2)):
        image = frame(len(name), (person, 60, 40)).image
        cv2.imwrite(str(tmp_path / f"{name}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    page.goto(served)
    page.get_by_label("First photograph").set_input_files(tmp_path / "ada.png")
    for second, said in (("ada again", "The same person"), ("grace", "Different people")):
        page.get_by_label("Second photograph").set_input_files(tmp_path / f"{second}.png")
        page.get_by_role("button", name="Compare").click()
        page.locator("#verdict-text", has_text=said).wait_for()
        until(page, "document.getElementById('crop-second').naturalWidth == 112")
        shot(page, said.replace(" ", "-").lower())
    assert "0.700" in page.locator("#verdict-meaning").inner_text()
    assert page.evaluate("document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth")


def test_what_cannot_be_compared_is_said(page, served: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    page.goto(served)
    for which in ("First", "Second"):
        page.get_by_label(f"{which} photograph").set_input_files(tmp_path / "a.png")
    page.get_by_role("button", name="Compare").click()
    page.locator("#compare-answer.bad", has_text="the first photograph").wait_for()


def test_a_token_in_the_address_logs_in_and_does_not_stay_there(page, watcher: Watcher) -> None:
    with Door(watcher, token="a token of some length") as door:  # noqa: S106
        page.goto(door.url)
        page.get_by_role("heading", name="Who may look?").wait_for()
        shot(page, "login")
        page.goto("about:blank")
        page.goto(f"{door.url}#token=a%20token%20of%20some%20length")
        until(page, "document.getElementById('live').naturalWidth > 0")
        assert "token" not in page.url


def test_a_server_that_goes_away_is_said_and_found_again(page, watcher: Watcher) -> None:
    with Door(watcher) as door:
        page.goto(door.url)
        until(page, "document.getElementById('live').naturalWidth > 0")
    page.locator("#condition", has_text="The server cannot be reached.").wait_for()
    shot(page, "away")
