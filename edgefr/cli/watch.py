"""edgefr watch"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefr.cli.gallery_options import Access, GalleryOption, KeyFileOption, PassphraseEnvOption, PassphraseFdOption
from edgefr.cli.options import (
    DetectorOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    RuntimeOption,
    chosen_model,
)
from edgefr.cli.output import remark, warn
from edgefr.errors import EdgefrError

if TYPE_CHECKING:
    from edgefr.camera.session import Session
    from edgefr.camera.sinks import Sink
    from edgefr.camera.watcher import FrameResult, Watcher

SOURCE_VARIABLE = "EDGEFR_SOURCE"
TOKEN_VARIABLE = "EDGEFR_WEB_TOKEN"  # noqa: S105 (its name, not what it holds)


def watch(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A camera's number, a video file, a folder of frames, or a URL of RTSP or MJPEG; else $EDGEFR_SOURCE, "
            "which is where a URL with a password belongs."
        ),
    ] = None,
    fpir: Annotated[
        float, typer.Option(min=0, max=1, help="The share of strangers that may be taken for somebody enrolled.")
    ] = 0.01,
    threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Decide by this similarity, not by the model's manifest.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Watch a recording at its own speed, as a camera; else every frame of it.")
    ] = False,
    events: Annotated[Path | None, typer.Option(help="Add every event to this file, a line of JSON each.")] = None,
    hook: Annotated[str | None, typer.Option(help="Post every event as JSON to this URL.")] = None,
    mqtt: Annotated[str | None, typer.Option(help="Publish every event on mqtt://HOST[:PORT]/TOPIC.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Keep what is seen, with boxes and names, in this JPEG.")] = None,
    window: Annotated[bool, typer.Option("--window", help="Show it in a window; q or closing it ends.")] = False,
    record: Annotated[Path | None, typer.Option(help="Record it into this MP4; nothing is recorded unasked.")] = None,
    web: Annotated[bool, typer.Option("--web", help="Serve a page to watch and to enrol people.")] = False,
    host: Annotated[str, typer.Option(help="Where the page listens; beyond this machine it asks for a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The page's port; 0 takes any that is free.")] = 8765,
    gallery: GalleryOption = None,
    key_file: KeyFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    passphrase_fd: PassphraseFdOption = None,
    model: ModelOption = None,
    detector: DetectorOption = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Who is in front of the camera? Events go to stdout, with --json a line of JSON each.

    Decides per face that is followed, not per frame. Ends with the recording, or by Ctrl-C.
    """
    from edgefr.camera.session import Session
    from edgefr.camera.sources import open_source
    from edgefr.camera.watcher import Watcher
    from edgefr.gallery.identifier import Identifier
    from edgefr.recognition.verifier import Verifier

    opened_source = open_source(_source(source))
    verifier = Verifier.open(chosen_model(model), detector, runtime, precision, images=1)
    with ExitStack() as stack:
        opened = stack.enter_context(Access.of(gallery, key_file, passphrase_env, passphrase_fd).open())
        watcher = Watcher(Identifier(verifier, opened, fpir, threshold))
        listener = _Listener(_sinks(json, events, hook, mqtt), _views(picture, window, record))
        stack.callback(listener.close)
        if web:
            listener.views.append(stack.enter_context(_page(watcher, opened_source.name, listener, host, port)))
        session = Session(opened_source, watcher, listener, live or web)
        _run(session)
        if web and not opened_source.live:
            _wait_for_the_end()
    rate = session.frames / session.seconds if session.seconds else 0.0
    remark(f"{session.frames:,} frames in {session.seconds:.1f} s ({rate:.1f}/s), {session.missed:,} missed.")


class _Listener:
    """Sends events to every sink, shows scenes in every view."""

    def __init__(self, sinks: list[Sink], views: list[Any]) -> None:
        self.sinks, self.views = sinks, views

    def send(self, document: dict[str, Any]) -> None:
        if document["what"] == "source":
            warn(f"edgefr: {document['source']} is {document['condition']}: {document['reason']}")
        for sink in self.sinks:
            sink.send(document)

    def show(self, scene: FrameResult) -> None:
        for view in self.views:
            view.show(scene)

    def close(self) -> None:
        for open_one in (*self.views, *self.sinks):
            open_one.close()


class _Sentences:
    """Events for people: a line each on stdout."""

    def send(self, document: dict[str, Any]) -> None:
        if document["what"] == "source":
            return  # it is said on stderr
        if document["at"] is None:
            when = f"{document['seconds']:9.2f} s"
        else:
            when = datetime.fromisoformat(document["at"]).astimezone().strftime("%H:%M:%S")
        who = document["name"] or "unknown"
        verb = {"identified": "is here", "unknown": "is here", "lost": "may not be here", "left": "has left"}
        print(
            f"{when}  {who} {verb[document['what']]} (similarity {document['similarity']:.3f}, track "
            f"{document['track']})",
            flush=True,
        )

    def close(self) -> None: ...


def _source(source: str | None) -> str:
    """The source to watch.

    Raises:
        EdgefrError: none is given, or one with a password where everybody on the machine sees it.
    """
    from urllib.parse import urlsplit

    if source is None and (named := os.environ.get(SOURCE_VARIABLE)):
        return named
    if source is None:
        raise EdgefrError(
            "a camera's number, a file, a folder or a URL", f"neither SOURCE nor ${SOURCE_VARIABLE}", "edgefr watch 0"
        )
    if "://" in source and urlsplit(source).password is not None:
        raise EdgefrError(
            "no password among the arguments, which every user of this machine can list",
            "one in SOURCE",
            f"put the URL into ${SOURCE_VARIABLE} instead",
        )
    return source


def _sinks(json: bool, events: Path | None, hook: str | None, mqtt: str | None) -> list[Sink]:
    from edgefr.camera import sinks

    found: list[Sink] = [sinks.Lines(sys.stdout) if json else _Sentences()]
    if events is not None:
        found.append(sinks.LinesFile(events))
    if hook is not None:
        found.append(sinks.hook(hook, _complain))
    if mqtt is not None:
        found.append(sinks.mqtt(mqtt, _complain))
    return found


def _views(picture: Path | None, window: bool, record: Path | None) -> list[Any]:
    from edgefr.camera import recording

    found: list[Any] = []
    if picture is not None:
        found.append(recording.Picture(picture))
    if window:
        found.append(recording.Window())
    if record is not None:
        found.append(recording.Recording(record))
    return found


def _page(watcher: Watcher, source: str, listener: _Listener, host: str, port: int) -> Any:
    """The page's server, which listens, too."""
    from edgefr.server.web_server import WebServer

    page = WebServer(watcher, source, host, port, os.environ.get(TOKEN_VARIABLE), warn)
    listener.sinks.append(page)
    return page


def _run(session: Session) -> None:
    """Watch until the end, Ctrl-C, or the SIGTERM by which services are stopped."""
    before = signal.signal(signal.SIGTERM, lambda *_: session.stop())
    try:
        session.run()
    except KeyboardInterrupt:
        session.stop()
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_for_the_end() -> None:
    """A recording is over; its page stays until Ctrl-C."""
    try:
        signal.pause()
    except KeyboardInterrupt:
        return


def _complain(sentence: str) -> None:
    warn(f"edgefr: {sentence}")
