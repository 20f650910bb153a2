"""
An address in a header field: C{"Display" <uri>;params}, or a bare URI.

From, To, Contact, Route, Record-Route, Path and their like.  Does not know
what any parameter but the tag means.  RFC 3261 section 20.10, RFC 8217.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from sipxha.sip.grammar import QUOTED, MalformedField, UnsafeValue, split_list, unquote
from sipxha.sip.params import NONE, Params
from sipxha.sip.uri import Uri

# Wider than the grammar: of unquoted display names only what could be read
# as another address is refused.
_NAME_ADDR = re.compile(
    rf"[ \t]*+({QUOTED}|[^\x00-\x08\x0a-\x1f\x7f\"<>,;\\]*+)[ \t]*+<([^\x00-\x20\x7f\"<>]++)>(.*)", re.DOTALL
)

_name_addr = _NAME_ADDR.fullmatch
_new = tuple.__new__


class Address(NamedTuple):
    """
    One address; immutable.
    """

    display: str
    """The display name as sent, quotes included; see L{name}."""

    uri: Uri

    params: Params = NONE
    """The parameters of the header field, not those of the URI."""

    raw: str = ""
    """The text that this was read from, if any."""

    @classmethod
    def parse(cls, text: str) -> Address:
        """
        Read one address.

        Parameters after a bare URI belong to the header field (20.10).

        @raise MalformedField: If this is not one.
        """
        match = _name_addr(text)
        if match is not None:
            display, uri, params = match.groups()
            listed = Params.parse(params) if params else NONE
            # Past the constructor of a named tuple, which is slow.
            return _new(cls, (display.strip(" \t"), Uri.parse(uri), listed, text))
        uri, semicolon, params = text.partition(";")
        uri = uri.strip(" \t")
        if "?" in uri or "," in uri:
            raise MalformedField("address", text)
        return cls("", Uri.parse(uri), Params.parse(semicolon + params), text)

    @classmethod
    def parse_list(cls, text: str) -> list[Address]:
        """
        Read a comma list of addresses.
        """
        return [cls.parse(element) for element in split_list("address", text)]

    @property
    def name(self) -> str:
        """
        The display name as people read it.
        """
        return unquote(self.display)

    @property
    def tag(self) -> str | None:
        """
        The tag parameter (19.3).
        """
        return self.params.get("tag")

    def replace(self, **fields: Any) -> Address:
        """
        This address with other values of the named fields.

        @raise UnsafeValue: If that is no address any more.
        """
        text = str(self._replace(raw="", **fields))
        try:
            return Address.parse(text)
        except MalformedField as found:
            raise UnsafeValue("address", text) from found

    def with_param(self, name: str, value: str | None) -> Address:
        """
        This address with one header parameter set.
        """
        return self._replace(params=self.params.with_(name, value), raw="")

    def __str__(self) -> str:
        if self.raw:
            return self.raw
        blank = " " if self.display else ""
        return f"{self.display}{blank}<{self.uri}>{self.params}"
