"""Runs the API until SIGTERM or Ctrl-C, and finishes what runs then."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from edgefr.errors import InvalidArgumentError
from edgefr.io.service_manager import ServiceManager
from edgefr.server.api.api_app import create_api
from edgefr.server.api.service import ApiService
from edgefr.server.listening import http_config, is_loopback, listen, url_host
from edgefr.server.trusted_proxies import TrustedProxies

GRACE_S = 30
"""Seconds for the requests that run when the server is stopped. systemd kills a service after 90."""


@dataclass(frozen=True)
class Binding:
    """Where the server listens, and who ends TLS.

    Attributes:
        host: Address to listen on.
        port: TCP port; 0 takes any free one.
        certificate: PEM file with the certificate and its chain; None without TLS.
        private_key: PEM file with its key.
        trusted_proxies: Addresses and networks of proxies with TLS.
    """

    host: str
    port: int
    certificate: Path | None = None
    private_key: Path | None = None
    trusted_proxies: Sequence[str] = ()

    @property
    def needs_tls(self) -> bool:
        """Whether a request must have come over TLS, as trusted proxies tell."""
        return self.certificate is None and not is_loopback(self.host)

    def check(self) -> None:
        """Refuse to send tokens and faces in clear over a network; raises InvalidArgumentError."""
        if (self.certificate is None) != (self.private_key is None):
            raise InvalidArgumentError("--certificate and --private-key", "one of them", "give both")
        if self.needs_tls and not self.trusted_proxies:
            raise InvalidArgumentError(
                f"TLS on {self.host}, which other machines reach",
                "neither a certificate nor a proxy",
                "give --certificate and --private-key, or --trusted-proxy if a proxy ends TLS, or listen on 127.0.0.1",
            )


class ApiServer:
    """A server of the API.

    Attributes:
        url: Its address.
    """

    def __init__(self, service: ApiService, binding: Binding, manager: ServiceManager) -> None:
        """Listen on a port.

        Args:
            service: What is served.
            binding: Where.
            manager: Learns when the server is ready, alive and stopping.

        Raises:
            InvalidArgumentError: The binding is not safe, or certificate or key cannot be read.
            UnavailableError: The port is taken, or the host is not an address of this machine.
        """
        binding.check()
        config = http_config(
            create_api(service),
            TrustedProxies(binding.trusted_proxies),
            timeout_graceful_shutdown=GRACE_S,
            ssl_certfile=binding.certificate,
            ssl_keyfile=binding.private_key,
        )
        try:
            config.load()
        except OSError as error:  # among them ssl.SSLError
            reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
            raise InvalidArgumentError(
                f"a certificate and its key in {binding.certificate} and {binding.private_key}",
                str(reason),
                "correct --certificate and --private-key",
            ) from error
        self._listening = listen(binding.host, binding.port)
        scheme = "http" if binding.certificate is None else "https"
        self.url = f"{scheme}://{url_host(binding.host)}:{self._listening.getsockname()[1]}"
        self._server = _StoppableServer(config, service, manager)

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C. Requests that run are finished; a second signal ends them."""
        self._server.run([self._listening])

    def stop(self) -> None:
        """End as by a signal. Other threads may call this."""
        self._server.stop()


class _StoppableServer(uvicorn.Server):
    """uvicorn's server raises a signal again after it has stopped; this one returns, so that the gallery is closed."""

    def __init__(self, config: uvicorn.Config, service: ApiService, manager: ServiceManager) -> None:
        super().__init__(config)
        self._service, self._manager = service, manager
        config.callback_notify, config.timeout_notify = self._report_life, 0  # every second

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        self._manager.ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.stop()

    def stop(self) -> None:
        """Begin nothing, and exit when what runs is finished."""
        if not self.should_exit:
            self._manager.stopping()
        self._service.is_stopping = self.should_exit = True

    async def _report_life(self) -> None:
        if not self._service.pool.is_stuck:
            self._manager.alive()
