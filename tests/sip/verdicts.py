"""
What becomes of each message of RFC 4475 when it arrives as a datagram.

Read by C{test_rfc4475}, of this package and of L{tests.system}; standards.md
C.11 says why.  An C{accepted} message passes the parser and the check that
every element makes; whether a proxy or registrar then refuses it for what it
asks is decided above L{sipxha.sip}, and said by L{ANSWERS}.
"""

from __future__ import annotations

from typing import NamedTuple


class Verdict(NamedTuple):
    """
    What is expected of one message.
    """

    section: str
    """Of RFC 4475."""

    outcome: str
    """C{accepted}, C{answered}, C{dropped}, or C{field}: accepted, until
    somebody asks for the field that is malformed."""

    status: int = 0
    """What it is answered with."""


VERDICTS: dict[str, Verdict] = {
    "wsinv.dat": Verdict("3.1.1.1", "accepted"),
    "intmeth.dat": Verdict("3.1.1.2", "accepted"),
    "esc01.dat": Verdict("3.1.1.3", "accepted"),
    "escnull.dat": Verdict("3.1.1.4", "accepted"),
    "esc02.dat": Verdict("3.1.1.5", "accepted"),
    "lwsdisp.dat": Verdict("3.1.1.6", "accepted"),
    "longreq.dat": Verdict("3.1.1.7", "accepted"),
    "dblreq.dat": Verdict("3.1.1.8", "accepted"),
    "semiuri.dat": Verdict("3.1.1.9", "accepted"),
    "transports.dat": Verdict("3.1.1.10", "accepted"),
    "mpart01.dat": Verdict("3.1.1.11", "accepted"),
    "unreason.dat": Verdict("3.1.1.12", "accepted"),
    "noreason.dat": Verdict("3.1.1.13", "accepted"),
    # Its only Via is malformed too, so there is no way to answer.
    "badinv01.dat": Verdict("3.1.2.1", "dropped"),
    "clerr.dat": Verdict("3.1.2.2", "answered", 400),
    "ncl.dat": Verdict("3.1.2.3", "answered", 400),
    "scalar02.dat": Verdict("3.1.2.4", "answered", 400),
    "scalarlg.dat": Verdict("3.1.2.5", "dropped"),
    "quotbal.dat": Verdict("3.1.2.6", "answered", 400),
    "ltgtruri.dat": Verdict("3.1.2.7", "answered", 400),
    "lwsruri.dat": Verdict("3.1.2.8", "answered", 400),
    "lwsstart.dat": Verdict("3.1.2.9", "answered", 400),
    "trws.dat": Verdict("3.1.2.10", "answered", 400),
    "escruri.dat": Verdict("3.1.2.11", "answered", 400),
    # A Date that nobody needs is nobody's business.
    "baddate.dat": Verdict("3.1.2.12", "accepted"),
    # A proxy passes a Contact that it does not use; the registrar asks for it.
    "regbadct.dat": Verdict("3.1.2.13", "field", 400),
    "badaspec.dat": Verdict("3.1.2.14", "answered", 400),
    "baddn.dat": Verdict("3.1.2.15", "answered", 400),
    "badvers.dat": Verdict("3.1.2.16", "answered", 505),
    "mismatch01.dat": Verdict("3.1.2.17", "answered", 400),
    "mismatch02.dat": Verdict("3.1.2.18", "answered", 501),
    "bigcode.dat": Verdict("3.1.2.19", "dropped"),
    "badbranch.dat": Verdict("3.2.1", "answered", 400),
    "insuf.dat": Verdict("3.3.1", "answered", 400),
    "unkscm.dat": Verdict("3.3.2", "answered", 416),
    "novelsc.dat": Verdict("3.3.3", "answered", 416),
    "unksm2.dat": Verdict("3.3.4", "accepted"),
    "bext01.dat": Verdict("3.3.5", "accepted"),
    "invut.dat": Verdict("3.3.6", "accepted"),
    "regaut01.dat": Verdict("3.3.7", "accepted"),
    "multi01.dat": Verdict("3.3.8", "answered", 400),
    "mcl01.dat": Verdict("3.3.9", "answered", 400),
    # The transport drops it, for its top Via is not ours.
    "bcast.dat": Verdict("3.3.10", "accepted"),
    "zeromf.dat": Verdict("3.3.11", "accepted"),
    "cparam01.dat": Verdict("3.3.12", "accepted"),
    "cparam02.dat": Verdict("3.3.13", "accepted"),
    "regescrt.dat": Verdict("3.3.14", "accepted"),
    "sdp01.dat": Verdict("3.3.15", "accepted"),
    "inv2543.dat": Verdict("3.4.1", "accepted"),
    # Not of the RFC's text: a sample of several faults, without a Via.
    "test.dat": Verdict("", "dropped"),
}


class Answers(NamedTuple):
    """
    What the services of a running node answer to one message; 0 for nothing.
    """

    proxy: int
    """The forking proxy, to a stranger."""

    registrar: int
    """The registrar and redirect server, to another of our servers."""


ANSWERS: dict[str, Answers] = {
    # Inside a dialog, so it is the authproxy behind that asks.
    "wsinv.dat": Answers(407, 404),
    "intmeth.dat": Answers(407, 404),
    "esc01.dat": Answers(407, 404),
    "escnull.dat": Answers(401, 401),
    "esc02.dat": Answers(407, 404),
    "lwsdisp.dat": Answers(407, 404),
    "longreq.dat": Answers(407, 404),
    "dblreq.dat": Answers(401, 401),
    "semiuri.dat": Answers(407, 404),
    "transports.dat": Answers(407, 404),
    "mpart01.dat": Answers(407, 404),
    "unreason.dat": Answers(0, 0),
    "noreason.dat": Answers(0, 0),
    "badinv01.dat": Answers(0, 0),
    "clerr.dat": Answers(400, 400),
    "ncl.dat": Answers(400, 400),
    "scalar02.dat": Answers(400, 400),
    "scalarlg.dat": Answers(0, 0),
    "quotbal.dat": Answers(400, 400),
    "ltgtruri.dat": Answers(400, 400),
    "lwsruri.dat": Answers(400, 400),
    "lwsstart.dat": Answers(400, 400),
    "trws.dat": Answers(400, 400),
    "escruri.dat": Answers(400, 400),
    "baddate.dat": Answers(407, 404),
    # Whoever has the password is told of the Contact: 400.
    "regbadct.dat": Answers(401, 401),
    "badaspec.dat": Answers(400, 400),
    "baddn.dat": Answers(400, 400),
    "badvers.dat": Answers(505, 505),
    "mismatch01.dat": Answers(400, 400),
    "mismatch02.dat": Answers(501, 501),
    "bigcode.dat": Answers(0, 0),
    "badbranch.dat": Answers(400, 400),
    "insuf.dat": Answers(400, 400),
    "unkscm.dat": Answers(416, 416),
    "novelsc.dat": Answers(416, 416),
    "unksm2.dat": Answers(400, 400),
    # A redirect server ignores extensions (RFC 3261 section 8.3).
    "bext01.dat": Answers(420, 404),
    "invut.dat": Answers(407, 404),
    "regaut01.dat": Answers(401, 401),
    "multi01.dat": Answers(400, 400),
    "mcl01.dat": Answers(400, 400),
    "bcast.dat": Answers(0, 0),
    # For who is asked himself it has come far enough (8.2.2).
    "zeromf.dat": Answers(483, 404),
    # 200 for whoever has the password; so with the next two.
    "cparam01.dat": Answers(401, 401),
    "cparam02.dat": Answers(401, 401),
    "regescrt.dat": Answers(401, 401),
    "sdp01.dat": Answers(407, 404),
    "inv2543.dat": Answers(407, 404),
    "test.dat": Answers(0, 0),
}
