"""What the options of `edgefr watch` do with events and frames."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgefr.cli.service_log import json_log

if TYPE_CHECKING:
    from edgefr.camera.delivery import Receiver
    from edgefr.camera.session import Document, Listener
    from edgefr.cli.service_log import JsonLog

VERBS = {"identified": "is here", "unknown": "is here", "lost": "may not be here", "left": "has left"}
DOOR = {"opened": "opens", "refused": "stays closed"}


@dataclass(frozen=True)
class Outputs:
    """Options of `edgefr watch` by their names."""

    json: bool
    events: Path | None
    hook: str | None
    mqtt: str | None
    queue: Path | None
    picture: Path | None
    window: bool
    record: Path | None

    def open(self, source: str, stack: ExitStack, warn: Callable[[str], None]) -> list[Listener]:
        """Open what the options name.

        Args:
            source: Name of the source, without a password.
            stack: Closes the listeners.
            warn: Prints a sentence on stderr.

        Raises:
            EdgefrError: An option has a wrong value, or a file cannot be written.
        """
        found: list[Listener] = []

        def add(listener: Listener) -> None:
            found.append(listener)
            stack.callback(listener.close)

        receivers = self._receivers()
        log = json_log()
        add(_terminal(self.json, warn) if log is None else _log(log))
        if self.json:
            from edgefr.camera.event_file import JsonLinesSink

            add(JsonLinesSink(sys.stdout))
        if self.events is not None:
            from edgefr.camera.event_file import JsonLinesFile

            add(JsonLinesFile(self.events, warn))
        if self.picture is not None:
            from edgefr.camera.snapshot import SnapshotFile

            add(SnapshotFile(self.picture))
        if self.window:
            from edgefr.camera.window import Window

            add(Window())
        if self.record is not None:
            from edgefr.camera.recording import Mp4Recorder

            add(Mp4Recorder(self.record))
        for receiver in receivers:
            add(self._delivered(receiver, source, warn))
        return found

    def _receivers(self) -> list[Receiver]:
        from edgefr.camera.mqtt import MqttBroker
        from edgefr.camera.webhook import Webhook

        found: list[Receiver] = []
        if self.hook is not None:
            found.append(Webhook(self.hook))
        if self.mqtt is not None:
            found.append(MqttBroker(self.mqtt))
        return found

    def _delivered(self, receiver: Receiver, source: str, warn: Callable[[str], None]) -> Listener:
        from edgefr.camera.delivery import DeliveredSink
        from edgefr.camera.event_queue import EventQueue, queue_path
        from edgefr.io.user_folders import user_folder

        home = user_folder("data")
        folder = self.queue or (None if home is None else home / "events")
        if folder is None:
            warn("there is no home directory, so events that wait are kept in memory only; name a folder with --queue")
            return DeliveredSink(receiver, EventQueue(None, warn), warn)
        return DeliveredSink(receiver, EventQueue(queue_path(folder, receiver.name, source), warn), warn)


def _terminal(json: bool, warn: Callable[[str], None]) -> Listener:
    """Prints events as sentences; with `json` only changes of the source, on stderr."""
    from edgefr.camera.session import Listener

    class Terminal(Listener):
        def send(self, document: Document) -> None:
            if document["what"] == "source":
                warn(f"{document['source']} is {document['condition']}: {document['reason']}")
            elif document["what"] in DOOR and not json:
                _print_decision(document)
            elif not json:
                _print_person(document)

    return Terminal()


def _print_decision(document: Document) -> None:
    """Print a decision of a door as a sentence."""
    who = " and ".join(document["names"]) or "an unknown person"
    why = [document["rule"] and f"rule {document['rule']}", document["reason"]]
    details = ", ".join(part for part in why if part)
    print(f"{_time(document)}  the door {DOOR[document['what']]} for {who} ({details})", flush=True)


def _time(document: Document) -> str:
    if document["at"] is None or document["seconds"] is not None:
        return f"{document['seconds']:9.2f} s"
    return datetime.fromisoformat(document["at"]).astimezone().strftime("%H:%M:%S")


def _log(log: JsonLog) -> Listener:
    """Writes events into the log of a service."""
    from edgefr.camera.session import Listener

    class LogLines(Listener):
        def send(self, document: Document) -> None:
            log.log_event(document)

    return LogLines()


def _print_person(document: Document) -> None:
    """Print an event as a sentence."""
    details = f"similarity {document['similarity']:.3f}, track {document['track']}"
    who = document["name"] or ("a face that is not live" if document["live"] is False else "unknown")
    print(f"{_time(document)}  {who} {VERBS[document['what']]} ({details})", flush=True)
