"""The address that a request comes from, and what of it is counted.

X-Forwarded-For is written by whoever sends it, so it is believed only as far as trusted proxies wrote it: read
from the right, the first address that is no trusted proxy is the client's. What stands left of it may be invented.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import Scope

from facepass.schemas.errors import ErrorCode, PermanentError

Address = IPv4Address | IPv6Address

UNKNOWN = "unknown"
"""Counts together all whose address the server does not know."""

_COUNTED_BITS = 64
"""A home or a phone gets this much of IPv6, so an address more or less is no other client."""


@dataclass(frozen=True, slots=True)
class Proxies:
    """The networks whose X-Forwarded-For is believed."""

    networks: tuple[IPv4Network | IPv6Network, ...]

    def __contains__(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def read_proxies(text: str) -> Proxies:
    """The proxies of the setting: addresses and networks, separated by commas.

    Raises:
        PermanentError: `invalid_setting`.
    """
    try:
        return Proxies(tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()))
    except ValueError as exc:
        raise PermanentError(
            ErrorCode.INVALID_SETTING,
            f"FACEPASS_TRUSTED_PROXIES: {exc}; give addresses or networks such as 10.0.0.0/8, separated by commas",
            setting="FACEPASS_TRUSTED_PROXIES",
        ) from exc


def client_address(scope: Scope, proxies: Proxies) -> Address | None:
    """The address that a request comes from; None if the server does not know it."""
    peer = parse_address(scope["client"][0]) if scope.get("client") else None
    if peer is None or peer not in proxies:
        return peer
    return _behind(peer, Headers(scope=scope).getlist("x-forwarded-for"), proxies)


def _behind(nearest: Address, headers: Sequence[str], proxies: Proxies) -> Address:
    """The first address, from the right, that is no trusted proxy. An entry that is no address ends the search:
    the hop that passed it on is the best that is known."""
    entries = ",".join(headers).split(",") if headers else []
    for entry in reversed(entries):
        address = parse_address(entry)
        if address is None:
            break
        nearest = address
        if nearest not in proxies:
            break
    return nearest


def parse_address(text: str) -> Address | None:
    """An address as servers and proxies write it, with a port or without; None if it is none.

    An IPv4 address inside an IPv6 one is the IPv4 address; a zone belongs to the machine that wrote it and is left
    out.
    """
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def counted_as(address: Address | None) -> str:
    """The name that a call by this address counts for: an IPv4 address, or an IPv6 network of 64 bits."""
    if address is None:
        return UNKNOWN
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, _COUNTED_BITS), strict=False))
    return str(address)
