"""
Tests for L{sipxha.routing.flow_token}.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.routing.flow_token import PREFIX, FlowToken, TokenForged, is_token, mint_token, read_token
from sipxha.sip.hop import Flow
from sipxha.sip.uri import Uri

SECRET = b"s" * 32

addresses = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number))),
    st.integers(0, 2**128 - 1).map(lambda number: str(IPv6Address(number))),
)
ports = st.integers(1, 65535)
edges = st.tuples(addresses, ports)
tokens = st.one_of(
    st.builds(FlowToken, edges, st.just("udp"), addresses, ports, st.just(0), st.just(0)),
    st.builds(
        FlowToken,
        edges,
        st.sampled_from(["tcp", "tls"]),
        addresses,
        ports,
        st.integers(0, 2**32 - 1),
        st.integers(1, 2**48 - 1),
    ),
)


class FlowTokenTests(SynchronousTestCase):
    """
    Tests for what rides in every REGISTER.
    """

    @given(tokens)
    def test_what_was_minted_is_read_again(self, token: FlowToken) -> None:
        """
        It is a user part, and the same each time.
        """
        text = mint_token(SECRET, token)
        self.assertEqual(read_token(SECRET, text), token)
        self.assertEqual(mint_token(SECRET, token), text)
        user = Uri.parse(f"sip:{text}@10.1.1.50:5060;lr").user
        self.assertTrue(is_token(user))
        self.assertEqual(user, text)

    @given(tokens, st.data())
    def test_O11_a_changed_token_is_forged(self, token: FlowToken, data: st.DataObject) -> None:
        """
        Whatever is changed in it.
        """
        text = mint_token(SECRET, token)
        place = data.draw(st.integers(len(PREFIX), len(text) - 2))
        other = data.draw(st.sampled_from([char for char in "AZaz09-_" if char != text[place]]))
        self.assertRaises(TokenForged, read_token, SECRET, text[:place] + other + text[place + 1 :])
        self.assertRaises(TokenForged, read_token, SECRET, text[:place])
        self.assertRaises(TokenForged, read_token, b"another secret", text)

    @given(st.text())
    def test_O11_what_is_no_token_is_refused(self, text: str) -> None:
        """
        With the answer to give, and never in another way.
        """
        with self.assertRaises(TokenForged) as caught:
            read_token(SECRET, PREFIX + text)
        self.assertEqual(caught.exception.status, 403)

    def test_users_are_no_tokens(self) -> None:
        """
        Nor is a route without a user.
        """
        self.assertFalse(is_token("201"))
        self.assertFalse(is_token(None))

    def test_it_is_short(self) -> None:
        """
        It rides in every REGISTER, and in the messages of every call.
        """
        edge = ("10.1.1.50", 5060)
        self.assertEqual(len(mint_token(SECRET, FlowToken(edge, "udp", "192.0.2.1", 5060))), 39)
        self.assertEqual(len(mint_token(SECRET, FlowToken(edge, "tls", "192.0.2.1", 5060, 1, 1))), 52)

    def test_a_connection_is_known_by_its_number_and_a_datagram_by_its_source(self) -> None:
        """
        The port of a connection may be used again, by somebody else.
        """
        edge = ("10.1.1.50", 5060)
        tcp = FlowToken(edge, "tcp", "192.0.2.1", 40000, 7, 3)
        self.assertTrue(tcp.is_of(Flow("tcp", "192.0.2.1", 40000, *edge, 3)))
        self.assertFalse(tcp.is_of(Flow("tcp", "192.0.2.1", 40000, *edge, 4)))
        self.assertFalse(tcp.is_of(Flow("tls", "192.0.2.1", 40000, *edge, 3)))
        udp = FlowToken(edge, "udp", "192.0.2.1", 40000)
        self.assertTrue(udp.is_of(Flow("udp", "192.0.2.1", 40000, *edge)))
        self.assertFalse(udp.is_of(Flow("udp", "192.0.2.1", 40001, *edge)))
