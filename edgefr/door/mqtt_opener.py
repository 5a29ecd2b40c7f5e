"""Publish openings on an MQTT topic."""

from __future__ import annotations

from edgefr.camera.mqtt import MqttBroker
from edgefr.door.fresh_receiver import Opener


class MqttOpener(MqttBroker, Opener):
    """Publishes openings without the retain flag, so that no later subscriber gets one."""
