"""Who calls: the first DNS name of the client's certificate, or in test mode, without TLS, what the caller says."""

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import grpc

from libs.refusals import PermissionDenied
from libs.settings import Deployment, Misconfigured
from libs.telemetry import logger

log = logger(__name__)

ANONYMOUS = "anonymous"
"""Who calls without saying who: grpcurl and local billing. Let through in test mode only."""

caller: ContextVar[str] = ContextVar("caller", default="")


class CallerNotAllowed(PermissionDenied):
    """The caller may not use this method."""


def current_caller() -> str:
    """Return the name of the service whose call is being answered; empty outside a call."""
    return caller.get()


@dataclass(frozen=True, slots=True)
class Tls:
    """A process's certificate, its key, and the authority that signs everybody's; PEM.

    Certificates live for hours: where they came from files they are looked at again, and who connects after a change
    meets the new ones. Connections that stand stay.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    authority: bytes
    files: tuple[Path, ...] = field(default=(), repr=False, compare=False)
    """Certificate, key and authority, where they can be read again."""

    @classmethod
    def read(cls, settings: Deployment) -> Self | None:
        """Read the files that the settings name; None where none is. Raises Misconfigured for some but not all."""
        paths = {
            "TLS_CERT_FILE": settings.tls_cert_file,
            "TLS_KEY_FILE": settings.tls_key_file,
            "TLS_CA_FILE": settings.tls_ca_file,
        }
        if not any(paths.values()):
            return None
        certificate, key, authority = (_pem(name, path) for name, path in paths.items())
        return cls(certificate, key, authority, tuple(map(Path, paths.values())))

    def current(self) -> Self:
        """Return what the files hold now; itself where they hold the same, or cannot be read at the moment."""
        try:
            found = tuple(path.read_bytes() for path in self.files)
        except OSError as error:
            log.warning("certificates cannot be read again", error=error.strerror)
            return self
        if found in {(), (self.certificate, self.key, self.authority)}:
            return self
        return replace(self, certificate=found[0], key=found[1], authority=found[2])

    def server_credentials(self) -> grpc.ServerCredentials:
        """Nobody gets in without a certificate of the same authority. Every handshake looks for newer files."""
        served = self

        def renewed() -> grpc.ServerCertificateConfiguration:
            nonlocal served
            now = served.current()
            if now is not served:
                served = now
                log.info("certificates renewed")
            return now.server_configuration()

        return grpc.dynamic_ssl_server_credentials(
            self.server_configuration(), renewed, require_client_authentication=True
        )

    def server_configuration(self) -> grpc.ServerCertificateConfiguration:
        """What a server shows, and whom it believes."""
        return grpc.ssl_server_certificate_configuration([(self.key, self.certificate)], self.authority)

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Show our certificate and check theirs."""
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)


def certified_name(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the first DNS name in the client's certificate; empty where it has none."""
    names: Iterable[bytes] = context.auth_context().get("peer_dns", ())
    return next((name.decode("ascii", "replace") for name in names), "")


def _pem(name: str, path: str) -> bytes:
    if not path:
        raise Misconfigured(f"{name} must be set: TLS needs a certificate, its key and the authority's certificate.")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Misconfigured(f"{name} cannot be read: {path}: {error.strerror}.") from None
