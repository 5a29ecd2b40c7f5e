"""Tells the service manager how the source of a session is."""

from __future__ import annotations

from edgefr.camera.session import Document, Listener
from edgefr.io.service_manager import ServiceManager


class ServiceStatus(Listener):
    """Shows changes of the source in `systemctl status`."""

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager

    def send(self, document: Document) -> None:
        if document["what"] == "source":
            self._manager.status(f"{document['source']} is {document['condition']}: {document['reason']}")
