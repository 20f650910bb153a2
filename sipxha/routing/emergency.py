"""
Emergency numbers: which calls nothing may stand in the way of.

A call to one of them needs no credentials and no permission, and is let
through when all else is turned away.  So what is one is read from the
Request-URI alone, by whoever has to know it first.  Which gateways take such
a call is the rules' matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sipxha.sip.grammar import MalformedField
from sipxha.sip.message import Request
from sipxha.sip.uri import Uri


class EmergencyNumbers:
    """
    The emergency numbers of a domain.
    """

    __slots__ = ("_domain", "_numbers", "_serves")

    def __init__(self, numbers: Iterable[str], domain: str, serves: Callable[[Uri], bool]) -> None:
        """
        @param domain: Whose rules know the gateways.

        @param serves: Whether a URI leads to this cluster.
        """
        self._numbers = frozenset(numbers)
        self._domain = domain
        self._serves = serves

    def called(self, request: Request) -> Uri | None:
        """
        Find out whether C{request} begins an emergency call.

        @return: What it is for, in the words of the rules: the number at the domain.
        """
        if request.method != "INVITE" or not self._numbers:
            return None
        try:
            uri = request.request_uri
            if uri.user not in self._numbers or request.to.tag or not self._serves(uri):
                return None
        except MalformedField:
            return None
        scheme = uri.scheme if uri.scheme == "sips" else "sip"
        return Uri.parse(f"{scheme}:{uri.user}@{self._domain}")


NO_NUMBERS = EmergencyNumbers((), "", lambda uri: False)
"""For a cluster without any."""
