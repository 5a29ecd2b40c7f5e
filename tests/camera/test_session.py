"""A session reports what happens in a source, also while it gives nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from edgefr.camera.base import DisconnectedError, Frame
from edgefr.camera.session import Listener, Session
from edgefr.camera.watcher import Watcher
from tests.camera.people import frame
from tests.waiting import wait_for


class Recorder(Listener):
    """A listener that keeps the events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def send(self, document: dict[str, Any]) -> None:
        self.events.append(document)


def test_events_of_a_recording_have_its_time(watcher: Watcher) -> None:
    class Film:
        name, live = "film", False

        def frames(self) -> Iterator[Frame]:
            yield from (frame(number / 25, (1, 100, 50)) for number in range(20))

    recorder = Recorder()
    session = Session(Film(), watcher, [recorder], real_time=False)
    session.run()
    assert session.frames == 20
    assert [(event["what"], event["name"], event["at"]) for event in recorder.events] == [
        ("identified", "Ada", None),
        ("left", "Ada", None),
    ]
    assert recorder.events[1]["seconds"] == 0.76


def test_people_leave_after_the_usual_delay_when_their_camera_dies(watcher: Watcher) -> None:
    class DyingCamera:
        name, live = "camera", True

        def frames(self) -> Iterator[Frame]:
            if (number := len(opened)) == 0:
                opened.append(time.time())
                for number in range(25):
                    time.sleep(0.04)
                    yield frame(opened[0] + 0.04 * number, (1, 100, 50))
            raise DisconnectedError("it is unplugged")

    opened: list[float] = []
    recorder = Recorder()
    session = Session(DyingCamera(), watcher, [recorder], real_time=False)
    thread = threading.Thread(target=session.run)
    thread.start()
    wait_for(lambda: len(recorder.events) >= 3)
    happened = [(event["what"], event.get("name")) for event in recorder.events]
    session.stop()
    thread.join(10)
    assert happened == [("identified", "Ada"), ("source", None), ("left", "Ada")]
    assert recorder.events[1]["reason"] == "it is unplugged"
