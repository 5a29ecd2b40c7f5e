"""The door of `edgefr watch --rules`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from edgefr.errors import InvalidArgumentError

if TYPE_CHECKING:
    from edgefr.camera.base import Source
    from edgefr.camera.session import Document, Listener
    from edgefr.door.rules_file import DoorSettings
    from edgefr.gallery.base import Gallery
    from edgefr.recognition.verifier import Verifier


def read_rules(path: Path, threshold: float | None) -> DoorSettings:
    """Read the rules of a door.

    Raises:
        InvalidArgumentError: A threshold is given, too.
        EdgefrError: The file is not valid.
    """
    from edgefr.door.rules_file import read_door

    if threshold is not None:
        raise InvalidArgumentError(
            "the threshold of the model for a door",
            "--threshold",
            "leave it out; rules may demand more by similarity or fmr",
        )
    return read_door(path)


def open_door(
    settings: DoorSettings,
    verifier: Verifier,
    gallery: Gallery,
    source: Source,
    stack: ExitStack,
    publish: Callable[[Document], None],
    warn: Callable[[str], None],
) -> list[Listener]:
    """Make a door that opens by rules.

    Args:
        settings: The rules and actions.
        verifier: Model and liveness check.
        gallery: The gallery that people are identified by.
        source: Where frames come from.
        stack: Closes the door.
        publish: Receives every decision.
        warn: Prints a sentence on stderr.

    Returns:
        The listeners that make it.

    Raises:
        EdgefrError: A rule demands what the model or the options do not give, or an action cannot work.
    """
    from edgefr.door.door import Door, failure_log
    from edgefr.door.openers import open_actions
    from edgefr.door.rules import strict_rules
    from edgefr.errors import WrongModelError

    def threshold_at(fmr: float) -> float | None:
        try:
            return verifier.threshold(fmr=fmr).value
        except WrongModelError:
            return None

    rules = strict_rules(settings.rules, threshold_at, verifier.liveness is not None)
    for name in sorted({name for rule in rules for name in rule.people or ()}):
        if name not in gallery:
            warn(f"the rules name {name}, who is not enrolled in {gallery.path}")
    actions = open_actions(settings.file, warn, failure_log(gallery, warn))
    for action in actions.values():
        stack.callback(action.close)
    listeners: list[Listener] = [Door(rules, settings.zone, actions, gallery, source.name, source.live, publish, warn)]
    if (shown := settings.file.home_assistant) is not None:
        from edgefr.door.fresh_receiver import Action
        from edgefr.door.home_assistant import HomeAssistant, HomeAssistantListener

        action = Action("home_assistant", HomeAssistant(shown), warn, lambda *_: None)
        stack.callback(action.close)
        listeners.append(HomeAssistantListener(action))
    return listeners
