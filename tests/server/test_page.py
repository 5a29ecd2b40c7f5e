"""The page in a browser, on a desktop and on a phone, with the real server."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgefr.camera.session import event_document, source_document
from edgefr.camera.watcher import TrackEvent, Watcher
from tests.camera.conftest import TOKENS, Door
from tests.camera.people import GROUND, frame
from tests.waiting import wait_for

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
AXE = "axe-core@4.10.3"


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


def test_the_face_in_view_is_enrolled_and_removed(page: Any, door: Door) -> None:
    name = "Émilie <b>du</b> Châtelet"  # shown as text, not as HTML
    page.goto(door.link())
    wait_for_picture(page)
    page.locator("#faces label", has_text="Unknown").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Enrol").click()
    page.locator("#enrol-message:not(.bad)", has_text=f"Enrolled {name} with 1 image.").wait_for()
    open_view(page, "Events")
    page.locator("#event-list li[data-what=identified]", has_text=name).wait_for()
    open_view(page, "People")
    page.get_by_label("Filter people by name").fill("emilie")
    assert page.locator("#people-list strong").all_inner_texts() == [name]
    page.get_by_role("button", name=f"Remove {name}").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    page.locator("#people-message", has_text="has been removed").wait_for()
    page.get_by_label("Filter people by name").fill("")
    assert page.locator("#people-list strong").all_inner_texts() == ["Ada", "Grace"]


def test_nobody_is_removed_without_a_confirmation(page: Any, door: Door) -> None:
    page.goto(door.link())
    open_view(page, "People")
    page.get_by_role("button", name="Remove Ada").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Remove Grace").click()
    page.keyboard.press("Enter")  # the focus is on Cancel first
    page.reload()
    page.get_by_role("button", name="Remove Grace").wait_for()
    assert page.locator("#people-list strong").all_inner_texts() == ["Ada", "Grace"]


def test_an_enrolment_without_a_selected_face_is_refused(page: Any, door: Door) -> None:
    page.goto(door.link())
    page.get_by_label("Name", exact=True).fill("Eve")
    page.get_by_role("button", name="Enrol").click()
    page.locator("#enrol-message.bad", has_text="Select a face or choose a photograph first.").wait_for()


def test_two_photographs_are_compared(page: Any, door: Door, tmp_path: Path) -> None:
    page.goto(door.link())
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


def test_two_photographs_dropped_at_once_are_compared(page: Any, door: Door, tmp_path: Path) -> None:
    page.goto(door.link())
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
    assert page.url.startswith(door.url)  # a dropped photograph does not replace the page


def test_an_unreadable_photograph_is_named(page: Any, door: Door, tmp_path: Path) -> None:
    (tmp_path / "none.png").write_bytes(b"no picture")
    page.goto(door.link())
    open_view(page, "Compare")
    page.get_by_label("First photograph").set_input_files(tmp_path / "none.png")
    page.get_by_label("Second photograph").set_input_files(photo(tmp_path, "ada.png", 1, 0))
    page.locator("#compare-message.bad", has_text="the first photograph").wait_for()


def test_a_token_opens_the_page_and_does_not_stay_in_the_address(page: Any, watcher: Watcher) -> None:
    with Door(watcher) as door:
        page.goto(door.url)
        page.get_by_label("Token").fill("another")
        page.get_by_role("button", name="Sign in").click()
        page.locator("#login-message.bad", has_text="The token is wrong").wait_for()
        assert not page.locator("main").is_visible()
        page.goto(f"{door.url}#token={TOKENS['admin'].replace(' ', '%20')}")  # the same page with another fragment
        wait_for_picture(page)
        assert page.url == door.url


def test_a_server_that_does_not_answer_is_reported(page: Any, watcher: Watcher) -> None:
    with Door(watcher) as door:
        page.goto(door.link())
        wait_for_picture(page)
    page.get_by_role("alert").filter(has_text="The server does not answer").wait_for()


def test_a_stranger_gets_an_enrolled_name_only_after_both_pictures_were_shown(page: Any, door: Door) -> None:
    page.goto(door.link())
    page.locator("#faces label", has_text="Ada").wait_for()
    for answer, message in (("Cancel", "Nobody was enrolled."), ("Enrol all the same", "Enrolled Ada with 1 image.")):
        page.locator("#faces label", has_text="Unknown").click()
        page.get_by_label("Name", exact=True).fill("Ada")
        page.get_by_role("button", name="Enrol", exact=True).click()
        doubt = page.get_by_role("dialog", name="Is this Ada?")
        doubt.get_by_text("does not look like the enrolled images of Ada").wait_for()
        assert doubt.locator("figcaption").all_inner_texts() == ["The new face", "Ada"]
        for picture in doubt.locator("img").all():
            assert picture.evaluate("image => image.decode().then(() => image.naturalWidth > 0)")
        doubt.get_by_role("button", name=answer).click()
        page.locator("#enrol-message:not(.bad)", has_text=message).wait_for()


def test_a_link_for_a_viewer_shows_only_what_a_viewer_may_do(page: Any, chromium: Any, door: Door) -> None:
    page.goto(door.link())
    page.get_by_role("button", name="Sign out and links").click()
    page.get_by_role("button", name="Link for a viewer").click()
    link = page.locator("#account-message span").first.inner_text()
    assert link.startswith(f"{door.url}#code=")
    context = chromium.new_context()
    viewer = context.new_page()
    viewer.goto(link)
    viewer.locator("#people-list strong", has_text="Ada").wait_for()
    assert not viewer.locator("#enrol, #compare, .remove").filter(visible=True).count()
    context.close()
    page.get_by_role("button", name="Sign out everyone").click()
    page.get_by_label("Token").wait_for()
    page.goto(door.url)
    page.get_by_label("Token").wait_for()


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of the accessibility checker axe-core, from the npm registry."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm on this machine: apt-get install npm")
    folder = tmp_path_factory.mktemp("axe")
    packed = subprocess.run([npm, "pack", AXE], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if packed.returncode != 0:
        pytest.skip(f"npm cannot get {AXE}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_passes_the_rules_of_accessibility(
    page: Any, watcher: Watcher, axe: str, scheme: str, tmp_path: Path
) -> None:
    """With long lists that scroll, all kinds of events, the result of a comparison, and both dialogs."""
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    with Door(watcher) as door:
        for number in range(20):
            door.page.send(source_document("the door", ("lost", "back")[number % 2], "it ended"))
        for what in ("unknown", "left", "lost"):
            name = "Ada" if what == "lost" else None
            event = TrackEvent(what, 0.0, 9, name, 0.5, (0, 0, 9, 9), 0.6, "a test", 0.01, 1e-3)
            door.page.send(event_document(event, live=True))
        (sample,) = watcher.gallery.samples("Ada")
        for number in range(20):
            watcher.gallery.enrol(f"Person {number}", [replace(sample, source=str(number))])
        page.goto(door.link())
        wait_for_picture(page)
        page.locator("#faces label", has_text="Unknown").click()
        page.evaluate(axe)
        for view in ("Live", "Events", "People", "Compare"):
            open_view(page, view)
            if view == "Compare":
                for label in ("First photograph", "Second photograph"):
                    page.get_by_label(label).set_input_files(photo(tmp_path, "ada.png", 1, 0))
                page.locator("#result .answer").wait_for()
            assert faults(page) == []
        open_view(page, "People")
        for action in ("Rename", "Remove"):
            page.get_by_role("button", name=f"{action} Ada").click()
            assert faults(page) == []
            page.keyboard.press("Escape")
        page.get_by_role("button", name="Sign out and links").click()
        assert faults(page) == []
        page.keyboard.press("Escape")
        open_view(page, "Live")
        page.locator("#faces label", has_text="Unknown").click()
        page.get_by_label("Name", exact=True).fill("Ada")
        page.get_by_role("button", name="Enrol", exact=True).click()
        page.get_by_role("dialog", name="Is this Ada?").wait_for()
        assert faults(page) == []


def faults(page: Any) -> list[str]:
    """The rules that the page breaks, with the elements."""
    found = page.evaluate("axe.run().then(result => result.violations)")
    return [f"{rule['id']}: {json.dumps([node['target'] for node in rule['nodes']])}" for rule in found]


def test_the_only_face_in_view_is_selected_and_kept_after_it_has_left(page: Any, watcher: Watcher) -> None:
    with Door(watcher, people=((77, 300, 60),)) as door:
        page.goto(door.link())
        selected = page.locator("#faces label:has(:checked)", has_text="Unknown")
        selected.wait_for()
        page.get_by_label("Name", exact=True).fill("Eve")
        door.people = ()
        page.locator("#faces label:has(:checked)", has_text="has left the view").wait_for()
        door.people = ((1, 40, 60),)
        page.locator("#faces label", has_text="Ada").wait_for()  # who comes next is not selected instead
        page.get_by_role("button", name="Enrol").click()
        page.locator("#enrol-message:not(.bad)", has_text="Enrolled Eve with 1 image.").wait_for()
        door.people = ((77, 300, 60),)
        page.locator("#faces label", has_text="Eve").wait_for()


def test_nobody_is_selected_while_a_name_is_typed_or_when_several_are_in_view(page: Any, watcher: Watcher) -> None:
    with Door(watcher) as door:
        page.goto(door.link())
        page.locator("#faces label", has_text="Ada").wait_for()
        page.get_by_label("Name", exact=True).fill("Eve")
        door.people = ((77, 300, 60),)
        wait_for(lambda: page.locator("#faces label").count() == 2)  # one face, and the photograph
        page.get_by_role("button", name="Enrol").click()
        page.locator("#enrol-message.bad", has_text="Select a face or choose a photograph first.").wait_for()


def test_thumbnails_have_no_drawn_boxes(page: Any, watcher: Watcher) -> None:
    with Door(watcher, people=((77, 300, 60),)) as door:
        page.goto(door.link())
        page.locator("#faces label", has_text="Unknown").wait_for()
        source = page.locator("#faces img").first.get_attribute("src")
    encoded = np.frombuffer(base64.b64decode(source.partition(",")[2]), np.uint8)
    thumbnail = cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert thumbnail.shape == (96, 96, 3)
    edge = thumbnail[4, 20:76].astype(int)  # the ground around the face, which a box in red would cross or touch
    assert np.abs(edge - GROUND).max() < 40


def test_a_person_is_enrolled_by_a_photograph(page: Any, door: Door, tmp_path: Path) -> None:
    page.goto(door.link())
    page.locator("main").wait_for()
    page.locator("#enrol-photo input").set_input_files(photo(tmp_path, "eve.png", 5, 0))
    page.locator("#enrol-photo.selected", has_text="eve.png").wait_for()
    page.get_by_label("Name", exact=True).fill("Eve")
    page.get_by_role("button", name="Enrol").click()
    page.locator("#enrol-message:not(.bad)", has_text="Enrolled Eve with 1 image.").wait_for()
    assert page.locator("#enrol-photo.selected").count() == 0
    open_view(page, "People")
    page.locator("#people-list strong", has_text="Eve").wait_for()


def test_a_person_gets_another_name(page: Any, door: Door) -> None:
    page.goto(door.link())
    open_view(page, "People")
    page.get_by_role("button", name="Rename Ada").click()
    page.get_by_label("New name").fill("Grace")
    page.keyboard.press("Enter")
    page.locator("#people-message.bad", has_text="Choose another name").wait_for()
    page.get_by_role("button", name="Rename Ada").click()
    page.get_by_label("New name").fill("Ada Lovelace")
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    page.locator("#people-message:not(.bad)", has_text="Ada is now Ada Lovelace.").wait_for()
    assert page.locator("#people-list strong").all_inner_texts() == ["Ada Lovelace", "Grace"]


def test_events_are_filtered_and_downloaded(page: Any, door: Door) -> None:
    page.goto(door.link())
    open_view(page, "Events")
    page.locator("#event-list li[data-what=identified]", has_text="Ada").wait_for()
    page.locator("#event-list li[data-what=unknown]").wait_for()
    page.get_by_label("Kind of event").select_option("Unknown")
    assert page.locator("#event-list li:visible strong").all_inner_texts() == ["Unknown person"]
    page.get_by_label("Kind of event").select_option("All")
    page.get_by_label("Filter events by name").fill("àda")
    assert page.locator("#event-list li:visible strong").all_inner_texts() == ["Ada"]
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON lines").click()
    (line,) = download.value.path().read_text().splitlines()
    assert json.loads(line)["name"] == "Ada"
    page.get_by_label("Filter events by name").fill("nobody")
    page.locator("#no-events", has_text="No event matches.").wait_for()


def test_an_empty_gallery_is_described(page: Any, watcher: Watcher) -> None:
    for name in watcher.gallery.names():
        watcher.gallery.remove(name)
    with Door(watcher) as door:
        page.goto(door.link())
        page.locator("#facts", has_text="no one is enrolled, so everyone is unknown").wait_for()
        assert "threshold" not in page.locator("#facts").inner_text()
        open_view(page, "People")
        page.locator("#people-note", has_text="No one is enrolled yet.").wait_for()
