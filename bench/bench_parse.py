"""
How long the message core takes: one line C{name n seconds per_second [ratio]
blocks bytes} each: what one takes as a ratio to a calibration loop, how many
blocks of memory it holds at its end, and how much it needs at most.

Run as C{python -m bench.bench_parse} in the top folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.allocations import blocks_held, peak_bytes
from bench.calibration import calibrate
from sipxha.sip.auth_fields import Credentials
from sipxha.sip.check import check
from sipxha.sip.message import Request
from sipxha.sip.parser import parse_message
from sipxha.sip.response import response_to

REGISTER = b"""\
REGISTER sip:example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.33:5060;rport;branch=z9hG4bKPj5ac3fbb8a4e94d02a3f1
Max-Forwards: 70
From: "Alice" <sip:alice@example.com>;tag=9d0f2b61c1e84a3aa
To: "Alice" <sip:alice@example.com>
Call-ID: 2b1e8c1f7a4d4f0d9f6c5a7d9b3e1c55
CSeq: 21344 REGISTER
User-Agent: Desk Phone 4.2.1
Contact: <sip:alice@192.0.2.33:5060;ob>;expires=3600;+sip.instance="<urn:uuid:0c67446e-f1a1-11d9-94d3-000a95>"
Allow: PRACK, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, SUBSCRIBE, NOTIFY, REFER, MESSAGE, OPTIONS
Expires: 3600
Content-Length: 0

""".replace(b"\n", b"\r\n")

BODY = b"""\
v=0
o=alice 2890844526 2890844526 IN IP4 192.0.2.33
s=-
c=IN IP4 192.0.2.33
t=0 0
m=audio 49170 RTP/AVP 0 8 101
a=rtpmap:101 telephone-event/8000
a=sendrecv
""".replace(b"\n", b"\r\n")

INVITE = (
    b"""\
INVITE sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.4:5080;branch=z9hG4bK-52b1bd0d2f3c4f2c
Via: SIP/2.0/UDP 192.0.2.33:5060;rport=5060;received=192.0.2.33;branch=z9hG4bKPj77aa51d0
Record-Route: <sip:192.0.2.4:5080;lr;s=1d8c7a>
Max-Forwards: 69
From: "Alice" <sip:alice@example.com>;tag=9d0f2b61c1e84a3aa
To: <sip:bob@example.com>
Call-ID: 8a6b2f3d1c9e4b7a8d5f6e3c2b1a0f9e
CSeq: 1 INVITE
Contact: <sip:alice@192.0.2.33:5060;ob>
User-Agent: Desk Phone 4.2.1
Allow: PRACK, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, SUBSCRIBE, NOTIFY, REFER, MESSAGE, OPTIONS
Supported: replaces, 100rel, timer, norefersub
Content-Type: application/sdp
Content-Length: %d

""".replace(b"\n", b"\r\n")
    % len(BODY)
    + BODY
)


def parse_register() -> object:
    """
    A typical REGISTER, no value looked at.
    """
    return parse_message(REGISTER)


def parse_check_register() -> object:
    """
    With what every element must look at.
    """
    message = parse_message(REGISTER)
    check(message)
    return message


def parse_all_of_register() -> object:
    """
    With what the registrar looks at.
    """
    message = parse_message(REGISTER)
    assert isinstance(message, Request)
    check(message)
    _ = message.request_uri.host, message.to.uri.identity(), message.rows("authorization")
    for contact in message.contacts:
        contact.params.get("expires")
    _ = message.expires, message.is_star_contact, message.call_id, message.cseq.number
    return message


def parse_touch_encode_invite() -> object:
    """
    The fields that route a message, and out again unchanged.
    """
    message = parse_message(INVITE)
    _ = message.via, message.cseq, message.call_id, message.to, message.from_
    return message, message.encode()


def forward_invite() -> object:
    """
    What a proxy does.
    """
    message = parse_message(INVITE)
    assert isinstance(message, Request)
    check(message)
    copy = message.copy()
    copy.uri = "sip:bob@192.0.2.77:5060"
    copy.set("max-forwards", str((message.max_forwards or 70) - 1))
    copy.prepend("via", "SIP/2.0/UDP 192.0.2.5:5060;branch=z9hG4bK-1f6b9d2c7e")
    return message, copy, copy.encode()


PARSED = parse_message(INVITE)


def encode_invite() -> object:
    """
    Printing alone, something having changed.
    """
    PARSED.set("max-forwards", "68")
    return PARSED.encode()


def answer_invite() -> object:
    """
    A response, not printed.
    """
    assert isinstance(PARSED, Request)
    return response_to(PARSED, 180, to_tag="8c1f7a4d4f0d9f6c")


def answer_and_encode_invite() -> object:
    """
    A response, printed.
    """
    assert isinstance(PARSED, Request)
    return response_to(PARSED, 180, to_tag="8c1f7a4d4f0d9f6c").encode()


AUTHORIZATION = (
    'Digest username="alice", realm="example.com", nonce="5f2a9c1b0e7d4a6c8b3f1e2d", uri="sip:example.com", '
    'response="6629fae49393a05397450978507c4ef1", algorithm=MD5, cnonce="0a4f113b", qop=auth, nc=00000001'
)


def read_credentials() -> object:
    """
    The Authorization field, which nobody caches.
    """
    return Credentials.parse(AUTHORIZATION)


def measure(function: Callable[[], object], loop: float, count: int = 500) -> None:
    """
    Print the best of many short runs, which leaves out what else the machine
    does.
    """
    best = float("inf")
    for _ in range(100):
        begun = time.perf_counter()
        for _ in range(count):
            function()
        best = min(best, time.perf_counter() - begun)
    ratio = best / count / loop
    print(
        f"{function.__name__} {count} {best:.6f} {count / best:.0f} [{ratio:.2f}] "
        f"{blocks_held(function)} blocks {peak_bytes(function)} bytes"
    )


if __name__ == "__main__":
    calibration = calibrate()
    for function in (
        parse_register,
        parse_check_register,
        parse_all_of_register,
        parse_touch_encode_invite,
        forward_invite,
        encode_invite,
        answer_invite,
        answer_and_encode_invite,
        read_credentials,
    ):
        measure(function, calibration)
