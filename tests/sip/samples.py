"""
Messages and strategies for the tests of L{sipxha.sip}.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from sipxha.sip.message import Request
from sipxha.sip.parser import parse_message

CORPUS = Path(__file__).parent.parent / "corpus" / "rfc4475"

LINES = (
    "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-1",
    "From: <sip:alice@example.com>;tag=a",
    "To: <sip:bob@example.com>",
    "Call-ID: call-1",
    "CSeq: 1 OPTIONS",
    "Max-Forwards: 70",
)


def datagram(
    *lines: str, start: str = "OPTIONS sip:bob@example.com SIP/2.0", without: str = "", body: bytes = b""
) -> bytes:
    """
    A datagram with the fields that every request has.

    @param lines: Further header lines.
    @param without: The start of a usual line to leave out.
    """
    kept = [line for line in LINES if not without or not line.startswith(without)]
    return "\r\n".join([start, *kept, *lines, "", ""]).encode("utf-8", "surrogateescape") + body


def a_request(*lines: str, start: str = "OPTIONS sip:bob@example.com SIP/2.0", without: str = "") -> Request:
    """
    What L{datagram} is read as.
    """
    message = parse_message(datagram(*lines, start=start, without=without))
    assert isinstance(message, Request)
    return message


def corpus() -> dict[str, bytes]:
    """
    The messages of RFC 4475, by file name.
    """
    return {path.name: path.read_bytes() for path in sorted(CORPUS.glob("*.dat"))}


_TOKEN = "abcXYZ019-.!%*_+`'~"
tokens = st.text(_TOKEN, min_size=1, max_size=8)

quoted_texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=12)

params_texts = st.lists(
    st.one_of(
        st.builds(";{}".format, tokens),
        st.builds(";{}={}".format, tokens, tokens),
        st.builds(" ; {} = {}".format, tokens, tokens),
        st.builds(';{}="a;b,\\"<c>{}"'.format, tokens, tokens),
    ),
    max_size=5,
).map("".join)

hosts = st.sampled_from(["example.com", "EXAMPLE.com.", "192.0.2.1", "[2001:db8::1]", "h_1", "x-1.y"])
ports = st.one_of(st.just(""), st.integers(1, 65535).map(":{}".format))

sip_uris = st.builds(
    "{}:{}{}{}{}{}".format,
    st.sampled_from(["sip", "SIPS", "Sip"]),
    st.sampled_from(["", "alice@", "a%6Cice@", "+1-212;phone-context=x@", "a:secret@", "a:@", "*72#@"]),
    hosts,
    ports,
    st.sampled_from(["", ";lr", ";transport=TCP;x", ";maddr=192.0.2.9;ttl=3"]),
    st.sampled_from(["", "?subject=a%20b", "?a=1&b=2"]),
)

addresses = st.one_of(
    st.builds("<{}>{}".format, sip_uris, params_texts),
    st.builds('"{}, Q" <{}>{}'.format, tokens, sip_uris, params_texts),
    st.builds("{} {}<{}>".format, tokens, tokens, sip_uris),
    st.builds("sip:a@b{}".format, params_texts),
    st.just("<tel:+1-212-555>;q=0.5"),
)


@st.composite
def mutated_messages(draw: st.DrawFn) -> bytes:
    """
    A message of the corpus with some bytes replaced, inserted or cut out.
    """
    data = bytearray(draw(st.sampled_from([*corpus().values(), datagram()])))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 5)))
        data[start:end] = draw(
            st.one_of(
                st.binary(max_size=4),
                st.sampled_from(
                    [b"\r\n", b"\r\n ", b"\r", b"\n", b",", b'"', b"<", b";", b":", b"\0", b"%", b"\xff"]
                ),
            )
        )
    return bytes(data)
