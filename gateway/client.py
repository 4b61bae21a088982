"""Who is at the other end of the line."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_HOPS = 20
MAX_TEXT = 512
LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


@dataclass(frozen=True, slots=True)
class Client:
    """What a request looked like from here."""

    address: str
    """Empty where the transport has none."""
    user_agent: str
    fingerprint: str

    @property
    def network(self) -> str:
        """What is counted as one client: an IPv4 address, or the /64 that one IPv6 customer gets."""
        parsed = parse(self.address)
        if isinstance(parsed, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((parsed, 64), strict=False))
        return self.address

    @property
    def neighbourhood(self) -> str:
        """What may be logged: the /24 or /48, which names nobody."""
        parsed = parse(self.address)
        if parsed is None:
            return ""
        return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))  # noqa: PLR2004


def parse(text: str) -> Address | None:
    """An address, IPv4 in IPv6 unwrapped; None for anything else."""
    try:
        address = ipaddress.ip_address(text.strip().split("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The nearest address that is not a proxy of ours.

    `forwarded` are the X-Forwarded-For headers as they came. Each proxy adds whom it saw on the right, so they are read
    from the right, and no further than they can be believed.
    """
    current = parse(peer)
    if current is None:
        return ""
    hops = [hop for header in forwarded for hop in header.split(",")]
    for hop in hops[: -MAX_HOPS - 1 : -1]:
        if not _within(current, trusted):
            break
        stated = parse(hop)
        if stated is None:
            break
        current = stated
    return str(current)


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def printable(text: str | None) -> str:
    """A header fit to be passed on: without control characters or broken text, and not endless."""
    cut = (text or "")[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8")
    return "".join(letter if letter.isprintable() else "?" for letter in cut)
