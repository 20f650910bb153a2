"""
Tests for L{sipxha.sip.uri}.
"""

from __future__ import annotations

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.grammar import MalformedField, UnsafeValue
from sipxha.sip.params import Params
from sipxha.sip.uri import Uri
from tests.sip.samples import sip_uris


class ParseTests(SynchronousTestCase):
    """
    Tests for L{Uri.parse} and printing.
    """

    def test_every_part_is_found(self) -> None:
        """
        As sent, but for the scheme.
        """
        uri = Uri.parse("SIPS:al%69ce:s3cret@Example.COM:5061;transport=tcp;lr?subject=x&a=b")
        self.assertEqual((uri.scheme, uri.user, uri.password), ("sips", "al%69ce", "s3cret"))
        self.assertEqual((uri.host, uri.port), ("Example.COM", 5061))
        self.assertEqual((uri.params.get("transport"), uri.params.get("lr")), ("tcp", ""))
        self.assertEqual((uri.headers, uri.opaque), ("subject=x&a=b", ""))

    def test_a_user_may_hold_semicolons_and_question_marks(self) -> None:
        """
        They begin nothing before the at sign.
        """
        uri = Uri.parse("sip:user;par=u%40example.net?,/@example.com;x")
        self.assertEqual((uri.user, uri.host), ("user;par=u%40example.net?,/", "example.com"))
        self.assertEqual(str(uri.params), ";x")

    def test_an_escaped_nul_cuts_nothing_off(self) -> None:
        """
        RFC 4475 section 3.1.1.4.
        """
        self.assertEqual(Uri.parse("sip:null-%00-null@example.com").user, "null-%00-null")

    def test_addresses_in_brackets_are_hosts(self) -> None:
        """
        The brackets stay.
        """
        uri = Uri.parse("sip:a@[2001:db8::10]:5070")
        self.assertEqual((uri.host, uri.port), ("[2001:db8::10]", 5070))
        self.assertEqual(Uri.parse("sip:[::ffff:192.0.2.1]").host, "[::ffff:192.0.2.1]")

    def test_of_other_schemes_only_the_rest_is_known(self) -> None:
        """
        It is kept as it came.
        """
        uri = Uri.parse("Tel:+1-212;phone-context=x")
        self.assertEqual((uri.scheme, uri.opaque, uri.host), ("tel", "+1-212;phone-context=x", ""))
        self.assertEqual(str(uri), "Tel:+1-212;phone-context=x")
        self.assertEqual(str(Uri("tel", opaque="+1")), "tel:+1")

    def test_other_text_is_malformed(self) -> None:
        """
        Nothing is guessed.
        """
        for text in (
            "",
            "alice@example.com",
            "sip:",
            "sip:@example.com",
            "sip:a@",
            "sip:a b@example.com",
            " sip:a@b",
            "sip:a@b ",
            "<sip:a@b>",
            "sip:a@b:0",
            "sip:a@b:65536",
            "sip:a@b:",
            "sip:a@b:x",
            "sip:a@b;",
            "sip:a@b;;x",
            "sip:a@b?",
            "sip:a%@b",
            "sip:a%4@b",
            "sip:a@b..c",
            "sip:a@[::1",
            "sip:a@::1",
            "sip:a@[:::1]",
            "sip:a@[1.2.3.4]",
            "sip:a@b\r\n",
            "sip:a@b\0",
            "sip:\u00e4@b",
            'sip:"a"@b',
            "1sip:a",
            "tel:",
        ):
            with self.assertRaises(MalformedField, msg=text):
                Uri.parse(text)

    @given(sip_uris)
    def test_a_uri_is_printed_as_it_came(self, text: str) -> None:
        """
        And when its text is composed anew, the same is read back.
        """
        uri = Uri.parse(text)
        self.assertEqual(str(uri), text)
        composed = Uri.parse(str(uri._replace(raw="")))
        self.assertEqual(composed._replace(raw=""), uri._replace(raw=""))
        self.assertTrue(composed.equivalent(uri))


class ReplaceTests(SynchronousTestCase):
    """
    Tests for L{Uri.replace} and L{Uri.bare}.
    """

    def test_other_parts_keep_their_spelling(self) -> None:
        """
        The original does not change.
        """
        uri = Uri.parse("sip:A@Example.com;X=1?h=1")
        self.assertEqual(str(uri.replace(host="h", port=5)), "sip:A@h:5;X=1?h=1")
        self.assertEqual(str(uri.replace(user=None)), "sip:Example.com;X=1?h=1")
        self.assertEqual(str(uri.replace(params=Params())), "sip:A@Example.com?h=1")
        self.assertEqual(str(uri), "sip:A@Example.com;X=1?h=1")

    def test_M29_what_would_be_another_uri_is_refused(self) -> None:
        """
        A host cannot smuggle parameters in, for they would be read as such.
        """
        uri = Uri.parse("sip:a@b")
        for host in ("", "b c", "b\r\nX: y", "b>"):
            with self.assertRaises(UnsafeValue):
                uri.replace(host=host)

    def test_P13_a_request_line_has_no_headers_and_no_method(self) -> None:
        """
        Everything else stays.
        """
        uri = Uri.parse("sip:a@b;method=INVITE;lr?Route=x")
        self.assertEqual(str(uri.bare()), "sip:a@b;lr")
        plain = Uri.parse("sip:a@b;lr")
        self.assertIs(plain.bare(), plain)


class IdentityTests(SynchronousTestCase):
    """
    Tests for L{Uri.identity}.
    """

    def test_R07_spellings_of_one_user_are_one_identity(self) -> None:
        """
        Needless escapes are undone, the host is in lower case, the user is not.
        """
        for text in (
            "sip:Alice@example.com",
            "sips:%41lice:pw@EXAMPLE.com:5060;x?h=1",
            "sip:Ali%63e@Example.Com",
        ):
            self.assertEqual(Uri.parse(text).identity(), "Alice@example.com")
        self.assertEqual(Uri.parse("sip:alice@example.com").identity(), "alice@example.com")

    def test_needed_escapes_stay_in_one_spelling(self) -> None:
        """
        So that no identity can be read in two ways.
        """
        self.assertEqual(Uri.parse("sip:a%40b%3a%00%25@h").identity(), "a%40b%3A%00%25@h")
        self.assertEqual(Uri.parse("sip:*72#@h").identity(), Uri.parse("sip:*72%23@h").identity())
        self.assertEqual(Uri.parse("sip:%2B1@h").identity(), "+1@h")

    def test_a_host_alone_is_an_identity(self) -> None:
        """
        Other schemes have their text.
        """
        self.assertEqual(Uri.parse("sip:Example.com;x").identity(), "example.com")
        self.assertEqual(Uri.parse("tel:+1").identity(), "tel:+1")


_EQUIVALENT = """
sip:%61lice@atlanta.com;transport=TCP sip:alice@AtLanTa.CoM;Transport=tcp
sip:carol@chicago.com sip:carol@chicago.com;newparam=5
sip:carol@chicago.com;newparam=5 sip:carol@chicago.com;security=on
sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com
sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com
sip:alice@atlanta.com?subject=project%20x&priority=urgent
sip:alice@atlanta.com?priority=urgent&subject=project%20x
sip:a@[2001:db8::1] sip:a@[2001:DB8:0::1]
tel:+1 tel:+1
"""

_DIFFERENT = """
SIP:ALICE@AtLanTa.CoM;Transport=udp sip:alice@AtLanTa.CoM;Transport=UDP
sip:bob@biloxi.com sip:bob@biloxi.com:5060
sip:bob@biloxi.com sip:bob@biloxi.com;transport=udp
sip:bob@biloxi.com sip:bob@biloxi.com:6000;transport=tcp
sip:carol@chicago.com sip:carol@chicago.com?Subject=next%20meeting
sip:bob@phone21.boxesbybob.com sip:bob@192.0.2.4
sip:carol@chicago.com;security=on sip:carol@chicago.com;security=off
sip:a@b sips:a@b
sip:a@b sip:a:pw@b
sip:b sip:a@b
sip:a@b sip:a@b;user=phone
sip:a@b sip:a@b;ttl=1
sip:a@b sip:a@b;method=INVITE
sip:a@b sip:a@b;maddr=192.0.2.1
sip:a%2Cb@c sip:a,b@c
tel:+1 tel:+2
tel:+1 sip:one
"""
EQUIVALENT, DIFFERENT = _EQUIVALENT.split(), _DIFFERENT.split()


class EquivalentTests(SynchronousTestCase):
    """
    Tests for L{Uri.equivalent}: the examples of RFC 3261 section 19.1.4 and
    the rules that have none there.
    """

    def test_R15_these_mean_the_same(self) -> None:
        """
        In both directions.
        """
        for one, other in zip(EQUIVALENT[::2], EQUIVALENT[1::2], strict=True):
            self.assertTrue(Uri.parse(one).equivalent(Uri.parse(other)), (one, other))
            self.assertTrue(Uri.parse(other).equivalent(Uri.parse(one)), (other, one))

    def test_R15_these_do_not(self) -> None:
        """
        In neither direction.
        """
        for one, other in zip(DIFFERENT[::2], DIFFERENT[1::2], strict=True):
            self.assertFalse(Uri.parse(one).equivalent(Uri.parse(other)), (one, other))
            self.assertFalse(Uri.parse(other).equivalent(Uri.parse(one)), (other, one))

    def test_equal_is_narrower_than_equivalent(self) -> None:
        """
        It asks for the spelling, also as a key of a dictionary.
        """
        uri = Uri.parse("sip:a@b")
        self.assertEqual(uri, Uri("sip", "a", host="b"))
        self.assertEqual(hash(uri), hash(Uri("sip", "a", host="b")))
        self.assertNotEqual(uri, Uri.parse("sip:a@B"))
        self.assertNotEqual(uri, "sip:a@b")
