"""Who the client is, and whom it believes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files for mutual TLS: the platform's allow-lists go by the first DNS name in `certificate`."""

    certificate: Path
    key: Path
    authority: Path

    def read(self) -> "Pems":
        """What the files hold now. Raises OSError where one cannot be read."""
        return Pems(self.certificate.read_bytes(), self.key.read_bytes(), self.authority.read_bytes())


@dataclass(frozen=True, slots=True)
class Pems:
    """What the files held at one moment."""

    certificate: bytes
    key: bytes
    authority: bytes

    def __repr__(self) -> str:
        return "Pems(…)"

    def credentials(self) -> grpc.ChannelCredentials:
        """Show our certificate and check theirs."""
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)

    def newer(self, files: Certificates) -> Self | None:
        """What the files hold now; None where that is the same, or where they cannot be read at the moment."""
        try:
            found = files.read()
        except OSError:
            return None
        return None if found == self else type(self)(found.certificate, found.key, found.authority)
