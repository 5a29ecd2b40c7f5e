"""edgefr watch"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefr.cli.gallery_options import (
    Access,
    ExpectOption,
    GalleryOption,
    KeyFileOption,
    LogDaysOption,
    PassphraseEnvOption,
    PassphraseFdOption,
    PinOption,
    PlainOption,
    open_or_create,
)
from edgefr.cli.options import (
    NO_LIVENESS,
    PASSWORD,
    DetectorOption,
    JsonOption,
    LivenessOption,
    LivenessThresholdOption,
    ModelOption,
    PrecisionOption,
    RotateOption,
    RuntimeOption,
    chosen_model,
    liveness_check,
    rotation_degrees,
)
from edgefr.cli.output import warn
from edgefr.cli.service_log import note, with_log_format
from edgefr.cli.watch_door import open_door, read_rules
from edgefr.cli.watch_outputs import Outputs
from edgefr.errors import InvalidArgumentError
from edgefr.io.credentials import secret_value

if TYPE_CHECKING:
    from edgefr.camera.session import Session
    from edgefr.io.service_manager import ServiceManager
    from edgefr.server.web_server import WebServer

SOURCE_VARIABLE = "EDGEFR_SOURCE"


@with_log_format
def watch(
    source: Annotated[
        str | None,
        typer.Argument(
            help="Number or device file of a camera, a video file, a folder of frames, a URL (RTSP, RTMP, MJPEG), or a "
            "GStreamer pipeline as 'ELEMENT ! ... ! appsink'. Default: $EDGEFR_SOURCE, which is the place for a URL "
            "with a password."
        ),
    ] = None,
    fpir: Annotated[
        float, typer.Option(min=0, max=1, help="Share of strangers that may be taken for an enrolled person.")
    ] = 0.01,
    threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Similarity to decide by, instead of the model's threshold.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Play a recording at its own speed; otherwise no frame is left out.")
    ] = False,
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            help="End when the source has ended: exit 2 if a camera or stream gives no frame, and do not reconnect it "
            "later; close the page after a recording.",
        ),
    ] = False,
    rotate: RotateOption = "auto",
    events: Annotated[Path | None, typer.Option(help="Append every event to this file as a line of JSON.")] = None,
    hook: Annotated[str | None, typer.Option(help="Post every event as JSON to this URL (webhook).")] = None,
    rules: Annotated[
        Path | None,
        typer.Option(help="Open a door by the rules of this TOML file; see docs/door.md and `edgefr door check`."),
    ] = None,
    mqtt: Annotated[str | None, typer.Option(help="Publish every event on mqtt://HOST[:PORT]/TOPIC.")] = None,
    queue: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which events for --hook and --mqtt wait until they are acknowledged. Default: "
            "~/.local/share/edgefr/events."
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Keep the newest frame, with boxes and names, in this JPEG file.")
    ] = None,
    window: Annotated[
        bool, typer.Option("--window", help="Show the frames in a window; q or closing it ends the program.")
    ] = False,
    record: Annotated[
        Path | None, typer.Option(help="Record the frames, with boxes and names, into this MP4 file.")
    ] = None,
    web: Annotated[
        bool,
        typer.Option(
            "--web", help="Serve a web page to watch, enrol and compare. A gallery that does not exist is created."
        ),
    ] = False,
    host: Annotated[str, typer.Option(help="Address that the page listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes any free port.")] = 8765,
    public_name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:PORT]",
            help="Name of the page behind a proxy with TLS, https://NAME/; other sites and names are refused. May be "
            "repeated.",
        ),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address or network of a proxy whose X-Forwarded-For and X-Forwarded-Proto are believed. May be "
            "repeated.",
        ),
    ] = None,
    gallery: GalleryOption = None,
    key_file: KeyFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    passphrase_fd: PassphraseFdOption = None,
    pin: PinOption = None,
    expect: ExpectOption = None,
    log_days: LogDaysOption = None,
    plain: PlainOption = False,
    model: ModelOption = None,
    detector: DetectorOption = None,
    liveness: LivenessOption = None,
    liveness_threshold: LivenessThresholdOption = 0.5,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Recognise people live, from a camera, a stream or a recording.

    Events are printed on stdout, with --json one JSON document a line. Faces are tracked, and the decision is made for
    a track, not for a frame. With --liveness, a track whose last views are not those of a living face is unknown. The
    command ends with the recording, or on Ctrl-C or SIGTERM. Nothing is recorded unless
    an option asks for it.
    """
    from edgefr.camera.service_status import ServiceStatus
    from edgefr.camera.session import Session
    from edgefr.camera.sources import open_source
    from edgefr.camera.watcher import Watcher
    from edgefr.gallery.identifier import Identifier
    from edgefr.io.service_manager import ServiceManager
    from edgefr.recognition.verifier import Verifier

    door = None if rules is None else read_rules(rules, threshold)
    opened_source = open_source(_source_name(source), _warn)
    verifier = Verifier.open(chosen_model(model), detector, runtime, precision, images=1)
    verifier.liveness = liveness_check(liveness, liveness_threshold)
    if verifier.liveness is None:
        note(NO_LIVENESS)
    with ExitStack() as stack:
        access = Access.of(gallery, key_file, passphrase_env, passphrase_fd, pin, expect, log_days)
        opened = stack.enter_context(open_or_create(access, plain, verifier) if web else access.open())
        watcher = Watcher(Identifier(verifier, opened, fpir, threshold, _warn), rotation_degrees(rotate), _warn)
        outputs = Outputs(json, events, hook, mqtt, queue, picture, window, record)
        listeners = outputs.open(opened_source.name, stack, _warn)
        page = None
        if web:
            from edgefr.server.web_server import TOKEN_VARIABLES, WebServer

            tokens = {role: token for role, name in TOKEN_VARIABLES.items() if (token := secret_value(name))}
            names, proxies = public_name or (), trusted_proxy or ()
            page = WebServer(watcher, opened_source.name, host, port, tokens, warn, names, proxies)
            listeners.append(stack.enter_context(page))
        if door is not None:
            # The session is made last, and receives the decisions of the door.
            listeners += open_door(
                door, verifier, opened, opened_source, stack, lambda document: session.publish(document), _warn
            )
        manager = ServiceManager.from_environment()
        listeners.append(ServiceStatus(manager))
        real_time = live or web
        session = Session(opened_source, watcher, listeners, real_time, once, _warn, manager.alive)
        _run(session, None if once else page, manager)
    rate = session.frames / session.seconds if session.seconds else 0.0
    note(f"{session.frames:,} frames in {session.seconds:.1f} s ({rate:.1f}/s), {session.missed:,} dropped.")


def _warn(sentence: str) -> None:
    warn(f"edgefr: {sentence}")


def _source_name(source: str | None) -> str:
    """The source to watch: SOURCE, or $EDGEFR_SOURCE without it."""
    if source is None and (default := secret_value(SOURCE_VARIABLE)):
        return default
    if source is None:
        raise InvalidArgumentError(
            "a camera, a file, a folder, a URL or a pipeline",
            f"neither SOURCE nor ${SOURCE_VARIABLE}",
            "name one, for example: edgefr watch 0",
        )
    if PASSWORD.search(source):
        raise InvalidArgumentError(
            "no password among the arguments, which all users of this machine can list",
            "one in SOURCE",
            f"put SOURCE into ${SOURCE_VARIABLE} instead",
        )
    return source


def _run(session: Session, page: WebServer | None, manager: ServiceManager) -> None:
    """Watch until the source ends, or until Ctrl-C or SIGTERM. The page stays open after a recording has ended."""
    from edgefr.camera.session import source_document

    terminated = threading.Event()

    def terminate(*_: Any) -> None:
        terminated.set()
        session.stop()

    before = signal.signal(signal.SIGTERM, terminate)
    if page is not None:
        # In a thread, because a handler may interrupt another print to the same stream.
        print_link = page.print_link
        signal.signal(signal.SIGUSR1, lambda *_: threading.Thread(target=print_link, name="link").start())
    manager.ready()
    manager.status(f"watching {session.source.name}")
    try:
        session.run()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if page is not None and not (session.source.live or terminated.is_set()):
            page.send(source_document(session.source.name, "ended", ""))
            while True:
                manager.alive()
                time.sleep(1)
    except KeyboardInterrupt:
        session.stop()
    finally:
        manager.stopping()
        signal.signal(signal.SIGTERM, before)
