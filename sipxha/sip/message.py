"""
Requests and responses.

A message is a start line, an ordered list of header lines exactly as they
came, and a body.  A line that nobody changed leaves byte for byte.  What is
read of the lines is in L{sipxha.sip.values}, parsing in L{sipxha.sip.parser};
what a message means is for the layers above.

RFC 3261 section 7.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sipxha.errors import RemoteError
from sipxha.sip.fields import safe
from sipxha.sip.grammar import MalformedField, UnsafeValue, is_token
from sipxha.sip.limits import DEFAULT, MessageLimits
from sipxha.sip.params import NONE
from sipxha.sip.uri import Uri
from sipxha.sip.values import Message, read_value

_METHODS = "ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH REFER REGISTER SUBSCRIBE UPDATE"
METHODS = frozenset(_METHODS.split())
"""The methods of RFC 3261 and its extensions; proxies pass others too."""


class MalformedMessage(RemoteError):
    """
    Something arrived that is not a message which we can handle.

    @ivar status: What to answer, where an answer is possible.
    @ivar reason: What is wrong, in words that fit a status line.
    @ivar request: The request as far as it could be read, its top Via at
        least; L{None} where nothing can be answered.
    """

    def __init__(self, status: int, reason: str, request: Request | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.request = request


class Request(Message):
    """
    A request.
    """

    __slots__ = ("_uri", "method")

    method: str
    """The method, case and all; it never changes."""

    def __init__(
        self, method: str, uri: str, fields: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        if is_token(method) is None:
            raise UnsafeValue("method", method)
        super().__init__(fields, body)
        self.method = method
        self.uri = uri

    @classmethod
    def of_lines(
        cls, method: str, uri: str, keys: list[str], lines: list[str], limits: MessageLimits = DEFAULT
    ) -> Request:
        """
        Wrap what the parser has already looked at.

        @param keys: The canonical names of C{lines}.
        @param lines: Header lines without their last CRLF; kept, not copied.
        """
        request = cls.__new__(cls)
        request._take_lines(keys, lines, limits)
        request.method = method
        request._uri = uri
        return request

    @property
    def uri(self) -> str:
        """
        The Request-URI as text; settable.
        """
        return self._uri

    @uri.setter
    def uri(self, uri: str) -> None:
        if not uri or not uri.isprintable() or " " in uri:
            raise UnsafeValue("request-uri", uri)
        self._uri = uri
        self._written = None
        self._typed.pop("request-uri", None)

    @property
    def request_uri(self) -> Uri:
        """
        The Request-URI; settable.
        """
        typed = self._typed
        if "request-uri" in typed:
            known: Uri = typed["request-uri"]
            return known
        held: Uri = read_value("request-uri", self._uri, _request_uri)
        if held.params is not NONE and len(held.params) > self.limits.uri_params:
            raise MalformedField("request-uri", self._uri)
        typed["request-uri"] = held
        return held

    @request_uri.setter
    def request_uri(self, uri: Uri) -> None:
        self.uri = str(uri)
        self._typed["request-uri"] = uri

    def copy(self) -> Request:
        """
        An independent copy; cheap.
        """
        copy = self._copy_to(Request.__new__(Request))
        copy.method = self.method
        copy._uri = self._uri
        return copy

    def _start(self) -> str:
        return f"{self.method} {self._uri} SIP/2.0"

    def _target(self) -> str:
        return self._uri

    def __repr__(self) -> str:
        return f"<Request {self.method} {self._uri} {self.get('call-id')}>"


class Response(Message):
    """
    A response.
    """

    __slots__ = ("reason", "status")

    status: int
    """The status code, 100 to 699; it never changes."""

    reason: str
    """The reason phrase, which may be empty; it never changes."""

    def __init__(
        self, status: int, reason: str, fields: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        if not 100 <= status <= 699:
            raise UnsafeValue("status", str(status))
        super().__init__(fields, body)
        self.status = status
        self.reason = safe("reason", reason)

    @classmethod
    def of_lines(
        cls, status: int, reason: str, keys: list[str], lines: list[str], limits: MessageLimits = DEFAULT
    ) -> Response:
        """
        Wrap what the parser has already looked at, as L{Request.of_lines}.
        """
        response = cls.__new__(cls)
        response._take_lines(keys, lines, limits)
        response.status = status
        response.reason = reason
        return response

    def copy(self) -> Response:
        """
        An independent copy; cheap.
        """
        copy = self._copy_to(Response.__new__(Response))
        copy.status = self.status
        copy.reason = self.reason
        return copy

    def _start(self) -> str:
        return f"SIP/2.0 {self.status} {self.reason}"

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason} {self.get('call-id')}>"


# Registrars are asked for the same few all the time.
_request_uri = lru_cache(maxsize=256)(Uri.parse)
