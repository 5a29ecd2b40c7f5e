"""Make the actions that the file of a door names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgefr.door.door_file import DoorFile
from edgefr.door.fresh_receiver import Action, Opener


def open_actions(
    file: DoorFile, warn: Callable[[str], None], on_failure: Callable[[str, str, str], None]
) -> dict[str, Action]:
    """Make all actions, and start their threads.

    Args:
        file: The file of the door.
        warn: See `Action`.
        on_failure: See `Action`.

    Returns:
        Name -> action.

    Raises:
        EdgefrError: One of them cannot work; then no thread was started.
    """
    openers = dict(_openers(file))
    return {name: Action(name, opener, warn, on_failure) for name, opener in openers.items()}


def _openers(file: DoorFile) -> Iterator[tuple[str, Opener]]:
    for name, hook in file.hook.items():
        from edgefr.door.signed_hook import SignedHook

        yield name, SignedHook(name, hook)
    for name, topic in file.mqtt.items():
        from edgefr.door.mqtt_opener import MqttOpener

        yield name, MqttOpener(topic.url, f"mqtt.{name}.url")
    for name, command in file.command.items():
        from edgefr.door.command_action import CommandAction

        yield name, CommandAction(name, command)
    for name, relay in file.gpio.items():
        from edgefr.door.gpio_relay import GpioRelay

        yield name, GpioRelay(name, relay)
