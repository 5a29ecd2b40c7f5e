"""The tables and keys of the file of a door, as they are written. docs/door.md describes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class HookSettings:
    """Posts to a URL. The content of `secret_file` signs each message, see docs/door.md."""

    url: str
    secret_file: Path


@dataclass(frozen=True)
class MqttSettings:
    """Publishes on mqtt://HOST[:PORT]/TOPIC."""

    url: str


@dataclass(frozen=True)
class CommandSettings:
    """Runs a program, `run[0]`, with fixed arguments and without a shell."""

    run: tuple[str, ...]
    timeout_s: float = 5.0


@dataclass(frozen=True)
class GpioSettings:
    """Switches a relay at a GPIO pin on for some seconds. `pin` is a name or number that gpiozero knows."""

    pin: str
    pulse_s: float = 3.0
    active_high: bool = True


@dataclass(frozen=True)
class HomeAssistantSettings:
    """Shows the door in Home Assistant by MQTT discovery."""

    url: str
    name: str = "Door"
    id: str = "edgefr_door"


@dataclass(frozen=True)
class RuleSettings:
    """One rule, as the file has it. docs/door.md describes the keys."""

    name: str
    when: tuple[str, ...]
    open: tuple[str, ...]
    everyone: bool = False
    people: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    similarity: float | None = None
    fmr: float | None = None
    live: bool = True
    frames: int = 3
    cooldown_s: float = 5.0
    two_people_within_s: float | None = None


@dataclass(frozen=True)
class DoorFile:
    """The whole file."""

    zone: str
    rules: tuple[RuleSettings, ...]
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    hook: dict[str, HookSettings] = field(default_factory=dict)
    mqtt: dict[str, MqttSettings] = field(default_factory=dict)
    command: dict[str, CommandSettings] = field(default_factory=dict)
    gpio: dict[str, GpioSettings] = field(default_factory=dict)
    home_assistant: HomeAssistantSettings | None = None

    def action_names(self) -> list[str]:
        """The names of all actions, of every kind."""
        return [name for kind in (self.hook, self.mqtt, self.command, self.gpio) for name in kind]
