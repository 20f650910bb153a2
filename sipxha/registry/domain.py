"""
Which addresses-of-record are ours.

Knows the names of the served domain and nothing about who lives there.
"""

from __future__ import annotations

from collections.abc import Iterable

from sipxha.sip.uri import Uri


class ServedDomain:
    """
    The domain that all nodes serve together, under all of its names.

    @ivar name: The name that identities carry.
    """

    __slots__ = ("_hosts", "name")

    def __init__(self, name: str, aliases: Iterable[str] = ()) -> None:
        self.name = name.lower()
        self._hosts = frozenset((self.name, *(alias.lower() for alias in aliases)))

    def serves(self, uri: Uri) -> bool:
        """
        Whether a SIP URI names this domain.
        """
        return uri.scheme in ("sip", "sips") and uri.host.lower() in self._hosts

    def identity(self, uri: Uri) -> str | None:
        """
        The canonical AOR of a URI: C{user@domain}, the same for sip and sips,
        whatever the port, the parameters, the escapes or the alias of the
        domain (RFC 3261 section 10.3 step 5, RFC 5630 section 5.2).

        @return: C{None} for what is not a user of this domain.
        """
        if not uri.user or not self.serves(uri):
            return None
        return f"{uri.identity().rpartition('@')[0]}@{self.name}"
