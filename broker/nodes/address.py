"""Which endpoints a node may have, and the addresses it is pinned to (protocol, rule 21).

Anybody may add a node, so an endpoint must not lead to our own Redis or to a metadata service: public
addresses are allowed; loopback, private, link-local and other special ones only when a network that the
deployment names holds them. Every address that the name resolves to must pass.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

from broker.errors import invalid

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
MAX_ADDRESSES = 16
#: Public to Python and yet not: the host services of Azure and Oracle's clouds, and IPv4 in disguise (RFC 8215).
_SPECIAL = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"), IPv6Network("64:ff9b:1::/48"))
RESOLVE_SECONDS = 5.0


def clean_endpoint(text: str) -> str:
    """`scheme://host[:port]`, lower-case, default ports left out. Raises ApiError for anything more or less."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        raise invalid("The endpoint is no URL.") from None
    host = (parts.hostname or "").rstrip(".")
    if (
        parts.scheme not in ("http", "https")
        or not host
        or parts.username is not None
        or parts.password is not None
    ):
        raise invalid("An endpoint is http:// or https://, a host, and maybe a port.")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise invalid("An endpoint has no path, query or fragment.")
    if not host.isascii() or any(char.isspace() or char in "%\\" for char in host):
        raise invalid("The endpoint's host must be written in ASCII.")
    default = 443 if parts.scheme == "https" else 80
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port not in (None, default) else "")


def is_allowed(address: Address, allowed: Iterable[Network]) -> bool:
    """Whether a node may live at the address.

    An IPv6 address that wraps an IPv4 one (mapped, 6to4, NAT64, Teredo) is judged by what it wraps as well.
    """
    networks = list(allowed)
    return all(_one_allowed(each, networks) for each in (address, *_wrapped(address)))


def _one_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    if any(address.version == network.version and address in network for network in allowed):
        return True
    if any(address.version == network.version and address in network for network in _SPECIAL):
        return False
    is_special = address.is_multicast or address.is_reserved
    if isinstance(address, IPv6Address):
        is_special = is_special or address.is_site_local
    return address.is_global and not is_special


def _wrapped(address: Address) -> list[Address]:
    if not isinstance(address, IPv6Address):
        return []
    found: list[Address] = [inner for inner in (address.ipv4_mapped, address.sixtofour) if inner is not None]
    if address.teredo is not None:
        found.extend(address.teredo)
    if address in IPv6Network("64:ff9b::/96") or (not address.is_global and int(address) >> 32 == 0):
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found


async def resolve(endpoint: str, allowed: Iterable[Network]) -> list[str]:
    """The addresses of the endpoint's host, sorted; these and no others are ever connected to.

    Raises ApiError when it does not resolve, or any of them is not allowed.
    """
    parts = urlsplit(endpoint)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        raise invalid(f"The host {host!r} does not resolve.") from None
    addresses = sorted({str(entry[4][0]) for entry in found})
    networks = list(allowed)
    for address in addresses:
        if "%" in address or not is_allowed(ipaddress.ip_address(address), networks):
            raise invalid(
                f"{host} is at {address}, which is not a public address; "
                "the deployment can allow its network with WIO_ALLOWED_NETWORKS."
            )
    return addresses[:MAX_ADDRESSES]
