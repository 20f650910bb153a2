"""
Tests for L{sipxha.net.stun}.
"""

from __future__ import annotations

from ipaddress import ip_address
from struct import pack
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.net.stun import binding_answer, is_stun

COOKIE = b"\x21\x12\xa4\x42"
TRANSACTION = b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae"


def a_binding_request(*attributes: bytes, kind: int = 1, length: int | None = None) -> bytes:
    """
    @return: a request of RFC 5769's transaction.
    """
    body = b"".join(attributes)
    return pack("!HH", kind, len(body) if length is None else length) + COOKIE + TRANSACTION + body


def attributes_of(message: bytes) -> dict[int, bytes]:
    """
    @return: the attributes of a message, which has to be whole.
    """
    assert int.from_bytes(message[2:4]) == len(message) - 20
    found = {}
    place = 20
    while place < len(message):
        size = int.from_bytes(message[place + 2 : place + 4])
        found[int.from_bytes(message[place : place + 2])] = message[place + 4 : place + 4 + size]
        place += 4 + (size + 3) // 4 * 4
    assert place == len(message)
    return found


class BindingTests(SynchronousTestCase):
    """
    Tests for what a phone behind a NAT asks.
    """

    def test_O10_the_answer_has_the_address_as_rfc_5769_writes_it(self) -> None:
        """
        Its sample answers of sections 2.2 and 2.3.
        """
        for address, written in (
            ("192.0.2.1", "0001a147e112a643"),
            ("2001:db8:1234:5678:11:2233:4455:6677", "0002a1470113a9faa5d3f179bc25f4b5bed2b9d9"),
        ):
            answer = binding_answer(a_binding_request(), address, 32853)
            assert answer is not None
            self.assertEqual((answer[:2], answer[4:20]), (b"\1\1", COOKIE + TRANSACTION))
            self.assertEqual(attributes_of(answer)[0x0020].hex(), written)

    @given(st.integers(0, 2**32 - 1), st.integers(1, 65535))
    def test_O10_whatever_the_address_is(self, number: int, port: int) -> None:
        """
        The cookie undoes what it did; the fingerprint is right.
        """
        address = str(ip_address(number))
        answer = binding_answer(a_binding_request(), address, port)
        assert answer is not None
        found = attributes_of(answer)
        mapped = found[0x0020]
        self.assertEqual(int.from_bytes(mapped[2:4]) ^ 0x2112, port)
        self.assertEqual(int.from_bytes(mapped[4:]) ^ int.from_bytes(COOKIE), number)
        self.assertEqual(int.from_bytes(found[0x8028]), crc32(answer[:-8]) ^ 0x5354554E)

    def test_attributes_that_may_be_ignored_are(self) -> None:
        """
        SOFTWARE, padded; and a fingerprint that is right.
        """
        request = a_binding_request(b"\x80\x22\0\5phone\0\0\0", length=20)
        whole = request + b"\x80\x28\0\4" + (crc32(request) ^ 0x5354554E).to_bytes(4)
        answer = binding_answer(whole, "192.0.2.1", 5060)
        assert answer is not None
        self.assertEqual(answer[:2], b"\1\1")
        self.assertIsNone(binding_answer(whole[:-1] + b"\0", "192.0.2.1", 5060))

    def test_attributes_that_may_not_be_ignored_are_named(self) -> None:
        """
        420, and not more bytes than came.
        """
        request = a_binding_request(*[pack("!HH", 0x7000 + number, 0) for number in range(20)])
        answer = binding_answer(request, "192.0.2.1", 5060)
        assert answer is not None
        found = attributes_of(answer)
        self.assertEqual((answer[:2], found[9][:4]), (b"\1\x11", b"\0\0\4\x14"))
        self.assertEqual(found[10][:4], b"\x70\0\x70\1")
        self.assertLessEqual(len(answer), len(request))

    def test_what_is_no_binding_request_is_not_answered(self) -> None:
        """
        An indication, an answer, another method, and what is cut off.
        """
        for request in (
            a_binding_request(kind=0x0011),
            a_binding_request(kind=0x0101),
            a_binding_request(kind=0x0003),
            a_binding_request(length=4),
            a_binding_request(b"\x80\x22\0\5"),
            a_binding_request(b"\0\0"),
        ):
            self.assertTrue(is_stun(request))
            self.assertIsNone(binding_answer(request, "192.0.2.1", 5060), request)

    @given(st.binary(max_size=60))
    def test_nothing_breaks_it(self, data: bytes) -> None:
        """
        Whatever follows the first bytes.
        """
        for request in (a_binding_request(data), a_binding_request()[:8] + data):
            if is_stun(request):
                binding_answer(request, "192.0.2.1", 5060)

    def test_sip_is_no_stun(self) -> None:
        """
        Nor is a keep-alive of zeros.
        """
        self.assertFalse(is_stun(b"OPTIONS sip:example.com SIP/2.0\r\n"))
        self.assertFalse(is_stun(bytes(4)))
        self.assertFalse(is_stun(bytes(40)))
