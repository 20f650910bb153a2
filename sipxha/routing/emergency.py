"""
Emergency numbers: which calls nothing may stand in the way of.

A call to one of them needs no credentials and no permission, and is let
through when all else is turned away.  So what is one is read from the
Request-URI alone, by whoever has to know it first.  Which gateways take such
a call is the rules' matter.

Telephones say it in three ways: as a SIP URI of the domain, as a number (RFC
3966), and as the service that somebody is in need of (RFC 5031), whatever its
number is where they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from sipxha.sip.grammar import MalformedField
from sipxha.sip.message import Request
from sipxha.sip.uri import Uri

_SOS = re.compile(r"service:sos(?:\.[0-9a-z-]+)*", re.IGNORECASE).fullmatch
_SEPARATORS = str.maketrans("", "", "-.()")


class EmergencyNumbers:
    """
    The emergency numbers of a domain.
    """

    __slots__ = ("_any", "_domain", "_numbers", "_serves")

    def __init__(self, numbers: Iterable[str], domain: str, serves: Callable[[Uri], bool]) -> None:
        """
        @param numbers: The first is the one for every service.

        @param domain: Whose rules know the gateways.

        @param serves: Whether a URI leads to this cluster.
        """
        listed = tuple(numbers)
        self._any = listed[0] if listed else None
        self._numbers = frozenset(listed)
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
            number = self._number(uri)
            if number is None or request.to_tag or (uri.host and not self._serves(uri)):
                return None
        except MalformedField:
            return None
        scheme = uri.scheme if uri.scheme == "sips" else "sip"
        return Uri.parse(f"{scheme}:{number}@{self._domain}")

    def _number(self, uri: Uri) -> str | None:
        if uri.user is not None:
            number = _digits(uri.user) if uri.params.get("user") == "phone" else uri.user
        elif uri.scheme == "tel":
            number = _digits(uri.opaque)
        else:
            return self._any if uri.scheme == "urn" and _SOS(uri.opaque) else None
        return number if number in self._numbers else None


def _digits(subscriber: str) -> str:
    """
    A telephone number without what only helps to read it, and without where it
    is to be dialled (RFC 3966 section 3): help is called from here.
    """
    return subscriber.partition(";")[0].translate(_SEPARATORS)


NO_NUMBERS = EmergencyNumbers((), "", lambda uri: False)
"""For a cluster without any."""
