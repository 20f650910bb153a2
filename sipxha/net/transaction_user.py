"""
Who receives the requests of an endpoint: the interface, and nothing else.

The core of RFC 3261 figure 4; each service has one.
"""

from __future__ import annotations

from zope.interface import Interface

from sipxha.net.handover import Remains
from sipxha.sip.hop import Flow
from sipxha.sip.message import Request, Response
from sipxha.transaction.vocabulary import ServerKey

# ruff: noqa: N805  (the methods of an Interface have no self)


class ITransactionUser(Interface):
    """
    Who receives the requests of an L{Endpoint<sipxha.net.endpoint.Endpoint>}.

    An exception out of any of these costs only the request it was about: a
    L{SipxhaError<sipxha.errors.SipxhaError>} is answered with its status, anything else with 500.
    """

    def request_received(transaction: ServerKey, request: Request, flow: Flow) -> None:
        """
        A new request, neither ACK nor CANCEL, that
        L{check<sipxha.sip.check.check>} found well-formed.

        Every one wants an answer through C{Endpoint.respond}.  An INVITE wants
        C{Endpoint.trying} at once when its answer will take longer than 200 ms;
        nothing else ever does (RFC 4320), and a non-INVITE request that is not
        answered in 35 seconds is forgotten (L{server_failed}).
        """

    def ack_received(request: Request, flow: Flow) -> None:
        """
        The ACK of a 2xx, or one that belongs to nothing we know.
        """

    def cancelled(transaction: ServerKey, reason: str | None) -> None:
        """
        The sender gave up this INVITE, which still has no final answer.  The
        CANCEL itself is answered already; C{reason} is its Reason (RFC 3326).
        """

    def answered_late(remains: Remains, response: Response) -> Remains:
        """
        A further 2xx to an INVITE, of which all that is left is what was said
        to L{Branch.leave<sipxha.net.branch.Branch.leave>}.  Our own Via is removed.

        @return: what is left of it now.
        """

    def server_failed(transaction: ServerKey) -> None:
        """
        This transaction ended without the far end having acknowledged, or
        been sent, its answer.  Nothing more can be done with it.
        """
