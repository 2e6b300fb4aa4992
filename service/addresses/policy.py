"""Decides which hosts and files the service may open; every address of a host is checked, then one is pinned."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Final

from pose.connections import PinnedUrl
from pose.live import SourceError
from service.addresses.urls import StreamUrl, StreamUrlError, UrlKind

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str], Sequence[str]]
"""Returns the addresses of a host name; raises `OSError`."""

_METADATA: Final = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
        ),
    )
)
"""Metadata services of Amazon, Alibaba, Microsoft, Oracle and Google, which hand out secrets; one address is public."""

_UNICAST: Final = IPv6Network("2000::/3")
_6TO4: Final = IPv6Network("2002::/16")
_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = IPv6Network("::/96")


def system_resolve(host: str) -> list[str]:
    """Addresses of a host from the resolver of the system, without duplicates, in its order.

    Raises:
        OSError: The name does not resolve.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class StreamPolicy:
    """Which addresses may be used.

    Public addresses are allowed. Private, loopback and other special addresses are allowed only if a listed range has
    them. Addresses of cloud metadata services, multicast, broadcast and unspecified addresses are never allowed. An
    IPv4 address inside an IPv6 one (mapped, 6to4, NAT64) is checked as the IPv4 address.

    Attributes:
        allowed_cidrs: Ranges that are allowed besides public addresses.
        media_dirs: Folders whose videos may be used as cameras.
    """

    allowed_cidrs: Sequence[Network] = ()
    media_dirs: Sequence[Path] = ()

    def check(self, url: StreamUrl, resolve: Resolve = system_resolve) -> None:
        """Check an address before it is connected to.

        A name that does not resolve passes: it may resolve later, and is checked again for each connection.

        Args:
            url: The address.
            resolve: Finds the addresses of a host.

        Raises:
            StreamUrlError: The address is not allowed.
        """
        if url.path is not None:
            self._check_file(url.path)
        if url.kind is not UrlKind.STREAM:
            return
        try:
            found = _resolved(url.host, resolve)
        except OSError:
            return
        if not all(map(self.allows, found)):
            raise StreamUrlError("forbidden-address", _refusal(url))

    def pin(self, url: StreamUrl, resolve: Resolve = system_resolve) -> PinnedUrl:
        """Resolve the host of a stream once, and choose an address for the connection.

        Args:
            url: A stream.
            resolve: Finds the addresses of a host.

        Raises:
            SourceError: ``dns``, or ``forbidden`` when any of the host's addresses is not allowed.
        """
        try:
            found = _resolved(url.host, resolve)
        except OSError as error:
            raise SourceError("dns", f"the name {url.host} does not resolve") from error
        if not found:
            raise SourceError("dns", f"the name {url.host} has no address")
        if not all(map(self.allows, found)):
            raise SourceError("forbidden", _refusal(url))
        return PinnedUrl(url.scheme, url.host, str(found[0]), url.port, url.target, url.user, url.password)

    def allows(self, address: Address) -> bool:
        """Whether a connection to an address is allowed."""
        inner = _innermost(address)
        if inner in _METADATA or inner.is_multicast or inner.is_unspecified or inner == IPv4Address("255.255.255.255"):
            return False
        if any(inner in network for network in self.allowed_cidrs):
            return True
        # Python calls every address global that is not registered as special, even in ranges that are not assigned.
        return inner.is_global and not inner.is_reserved and (inner.version == 4 or inner in _UNICAST)

    def _check_file(self, path: Path) -> None:
        real = Path(os.path.realpath(path))
        if not any(real.is_relative_to(os.path.realpath(folder)) for folder in self.media_dirs):
            raise StreamUrlError("forbidden-path", "the file is in none of the folders of DAFLOW_MEDIA_DIRS")
        if not os.path.isfile(real):
            raise StreamUrlError("no-such-file", "there is no such file")


def _resolved(host: str, resolve: Resolve) -> list[Address]:
    try:
        return [ip_address(host)]
    except ValueError:
        pass
    try:
        return [ip_address(found.partition("%")[0]) for found in resolve(host)]
    except UnicodeError as error:
        raise OSError("the name cannot be looked up") from error


def _innermost(address: Address) -> Address:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _6TO4:
            return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
        if any(address in network for network in _NAT64) or (address in _COMPATIBLE and int(address) > 1):
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _refusal(url: StreamUrl) -> str:
    return (
        f"{url.host} is, or resolves to, an address that is not allowed; private and local ones must be listed in "
        "DAFLOW_ALLOWED_STREAM_CIDRS"
    )
