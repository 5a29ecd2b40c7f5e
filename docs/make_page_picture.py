"""Take docs/images/page.png, the picture of the web page in the README: `python docs/make_page_picture.py`.

The faces come with scikit-image (Eileen Collins) and matplotlib (Grace Hopper). Chromium and playwright are required.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from matplotlib import cbook
from playwright.sync_api import sync_playwright
from skimage import data

from edgefr.camera.base import Frame
from edgefr.camera.session import Session
from edgefr.camera.watcher import Watcher
from edgefr.gallery.crypto.key_wrapping import NoSecret
from edgefr.gallery.enrolment import enrol
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.identifier import Identifier
from edgefr.gallery.model_binding import ModelBinding
from edgefr.io.photo import read_photograph
from edgefr.recognition.verifier import Verifier
from edgefr.server.web_server import WebServer
from edgefr.types import Image

IMAGE = Path(__file__).parent / "images" / "page.png"
WIDTH, HEIGHT = 1280, 800
COLOURS = 144
"""Colours of the picture, which keep its file below 150 kB."""


class Entrance:
    """A camera with both people in view, who move a little."""

    name, live = "Entrance", True

    def __init__(self, *people: Image) -> None:
        self._people = [cv2.resize(person[:512, :512], (768, 768), interpolation=cv2.INTER_CUBIC) for person in people]

    def frames(self) -> Iterator[Frame]:
        start = time.time()
        while True:
            left, right = (round(24 + 16 * np.sin(time.time() - start + phase)) for phase in (0, 2))
            halves = [person[20:580, 40 + x : 680 + x] for person, x in zip(self._people, (left, right), strict=True)]
            yield Frame(np.ascontiguousarray(np.hstack(halves)), time.time())
            time.sleep(0.08)


def main() -> None:
    hopper = Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    verifier = Verifier.open(images=1)
    with (
        tempfile.TemporaryDirectory() as folder,
        FileGallery.create(Path(folder, "people.gallery"), NoSecret(), ModelBinding.of(verifier)) as gallery,
    ):
        enrol(gallery, verifier, "Grace Hopper", [hopper], crops=False, expires_in_s=None, on_progress=lambda _: None)
        watcher = Watcher(Identifier(verifier, gallery))
        log: list[str] = []
        with WebServer(watcher, Entrance.name, "127.0.0.1", 0, {}, log.append) as page:
            session = Session(Entrance(data.astronaut(), read_photograph(hopper)), watcher, [page], real_time=True)
            thread = threading.Thread(target=session.run)
            thread.start()
            try:
                take_picture(log[0].split()[-1])  # the link that signs in
            finally:
                session.stop()
                thread.join()


def take_picture(url: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.goto(url)
        tab.locator("#event-list li[data-what=identified]").wait_for()
        tab.locator("#event-list li[data-what=unknown]").wait_for()
        tab.locator("#faces label", has_text="Unknown").click()
        tab.get_by_label("Name", exact=True).fill("Eileen Collins")
        tab.get_by_role("button", name="Enrol").focus()
        time.sleep(3)
        screenshot = PIL.Image.open(BytesIO(tab.screenshot())).convert("RGB")
        browser.close()
    screenshot.quantize(COLOURS, dither=PIL.Image.Dither.NONE).save(IMAGE, optimize=True)


if __name__ == "__main__":
    main()
