"""
Tests for L{sipxha.config.rules}.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.rules import (
    AUTH_NAMESPACE,
    CALLER_ALIAS_NAMESPACE,
    FALLBACK_NAMESPACE,
    FORWARDING_NAMESPACE,
    MAPPING_NAMESPACE,
    RulesRefused,
    load_auth_rules,
    load_caller_aliases,
    load_fallback_rules,
    load_forwarding_rules,
    load_mapping_rules,
)
from sipxha.routing.rules import DIRECT
from sipxha.sip.message import Request
from sipxha.sip.uri import Uri

FORWARDING = """\
<routes xmlns="http://www.sipfoundry.org/sipX/schema/xml/forwardingrules-00-00">
  <!-- our domain -->
  <route mappingType="home">
    <description>our domain</description>
    <routeFrom>example.com:5060</routeFrom>
    <routeFrom>10.9.1.50</routeFrom>
    <methodMatch>
      <methodPattern>subscribe</methodPattern>
      <fieldMatch fieldName="Event">
        <fieldPattern>message-summary.*</fieldPattern>
        <routeTo>&lt;east.example.com:5110;transport=tcp&gt;</routeTo>
      </fieldMatch>
      <routeTo>&lt;rr.sub.example.com&gt;</routeTo>
    </methodMatch>
    <routeTo>&lt;rr.east.example.com&gt;</routeTo>
  </route>
  <route>
    <routeIPv4subnet>10.9.2.0/24</routeIPv4subnet>
    <routeDnsWildcard>*.free.example.net</routeDnsWildcard>
    <routeTo authRequired="false"/>
  </route>
</routes>
"""

AUTH = """\
<mappings xmlns="http://www.sipfoundry.org/sipX/schema/xml/urlauth-00-00">
  <hostMatch>
    <hostPattern>gw1.example.com</hostPattern>
    <userMatch><userPattern>911</userPattern><permissionMatch/></userMatch>
    <userMatch><userPattern>1xxx</userPattern><userPattern>2xxx</userPattern>
      <permissionMatch><permission>LocalDialing</permission></permissionMatch></userMatch>
  </hostMatch>
</mappings>
"""

MAPPING = """\
<mappings xmlns="http://www.sipfoundry.org/sipX/schema/xml/urlmap-00-00">
  <hostMatch>
    <description>our domain</description>
    <hostPattern>example.com:5060</hostPattern>
    <hostPattern format="url">sipx1.example.com</hostPattern>
    <hostPattern format="DnsWildcard">*.branch.example.com</hostPattern>
    <hostPattern format="IPv4subnet">10.1.1.0/24</hostPattern>
    <userMatch>
      <description>voicemail</description>
      <userPattern>2xxx</userPattern><userPattern>3xxx</userPattern>
      <callTag>VM</callTag>
      <permissionMatch>
        <permission>Voicemail</permission>
        <transform><url>&lt;sip:{vdigits}@{mediaserver};mb={digits-escaped}&gt;;q=0.1</url></transform>
      </permissionMatch>
    </userMatch>
    <userMatch>
      <userPattern>8.</userPattern>
      <transform>
        <description>the other site</description>
        <user>9{vdigits}</user><host>{voicemail}</host>
        <urlparams>a={user}</urlparams><headerparams>X=y</headerparams><fieldparams>q=0.5</fieldparams>
      </transform>
    </userMatch>
  </hostMatch>
</mappings>
"""

CALLER_ALIASES = """\
<items type="caller-alias" NS>
<item><identity>201@example.com</identity><domain>gw1.example.com</domain>
<alias>"Ann" &lt;sip:555@example.com&gt;</alias></item>
<item><domain>gw2.example.com:5070</domain><alias>sip:777@example.com</alias></item>
</items>
"""

SYMBOLS = {"mediaserver": "vm.example.com:5100", "voicemail": "vm.example.com"}


class LoadTests(SynchronousTestCase):
    """
    Files in the formats of sipX.
    """

    def _file(self, text: str) -> Path:
        path = Path(self.mktemp())
        path.write_text(text)
        return path

    def test_forwarding_rules(self) -> None:
        """
        Scheme and lr, which the file leaves out, are added to each target.
        """
        rules = load_forwarding_rules(self._file(FORWARDING))
        uri = Uri.parse("sip:201@example.com")
        for method, event, expected in (
            ("INVITE", None, "sip:rr.east.example.com;lr"),
            ("SUBSCRIBE", "message-summary", "sip:east.example.com:5110;transport=tcp;lr"),
            ("SUBSCRIBE", "dialog", "sip:rr.sub.example.com;lr"),
        ):
            request = Request(method, str(uri), [("event", event)] if event else [])
            self.assertEqual(rules.route(uri, request), expected)
        for host in ("10.9.2.7", "gw.free.example.net"):
            self.assertEqual(rules.route(Uri.parse(f"sip:{host}"), Request("INVITE", "sip:x", [])), DIRECT)

    def test_auth_rules(self) -> None:
        """
        Several patterns share one permissionMatch; an empty one asks nothing.
        """
        rules = load_auth_rules(self._file(AUTH))
        for user, permissions in (("911", set()), ("1234", {"LocalDialing"}), ("2234", {"LocalDialing"})):
            self.assertEqual(rules.required(Uri.parse(f"sip:{user}@gw1.example.com")), permissions)

    def test_caller_aliases(self) -> None:
        """
        With and without the namespace, as sipX has them; an address of any shape.
        """
        for namespace in (f' xmlns="{CALLER_ALIAS_NAMESPACE}"', ""):
            text = CALLER_ALIASES.replace(" NS", namespace)
            rules = load_caller_aliases(self._file(text))
            caller, target = Uri.parse("sip:201@example.com"), Uri.parse("sip:5@GW1.example.com:5060")
            self.assertEqual(rules.alias(caller, target, "example.com"), '"Ann" <sip:555@example.com>')
            target = Uri.parse("sip:5@gw2.example.com:5070")
            self.assertEqual(rules.alias(caller, target, "example.com"), "<sip:777@example.com>")
        for text, problem in (
            (CALLER_ALIASES.replace("caller-alias", "alias"), "caller-alias"),
            (CALLER_ALIASES.replace("<domain>gw1.example.com</domain>", ""), ":2: an item needs"),
            (CALLER_ALIASES.replace("sip:777@example.com", "<"), "alias"),
            (CALLER_ALIASES.replace("sip:777@example.com", "sip:7@x;tag=1"), "tag"),
            (CALLER_ALIASES.replace("201@example.com", "@"), "identity"),
        ):
            with self.assertRaises(RulesRefused) as caught:
                load_caller_aliases(self._file(text.replace(" NS", "")))
            self.assertIn(problem, str(caught.exception))

    def test_what_is_wrong_is_named_with_its_line(self) -> None:
        """
        One clear sentence, and no rule of the file is used.
        """
        for text, line, problem in (
            (
                FORWARDING.replace("<routeFrom>10.9.1.50</routeFrom>", "<routeForm>x</routeForm>"),
                6,
                "routeForm",
            ),
            (FORWARDING.replace("10.9.1.50", "10.9.1.50:http"), 6, "host[:port]"),
            (FORWARDING.replace("message-summary.*", "("), 10, "fieldPattern"),
            (FORWARDING.replace("rr.east.example.com", "rr east"), 15, "routeTo"),
            (FORWARDING.replace(' fieldName="Event"', ""), 9, "fieldName"),
            (FORWARDING.replace("forwardingrules-00-00", "x"), 1, "namespace"),
            (FORWARDING.replace("</routes>", ""), 23, ""),
            (FORWARDING.replace("10.9.2.0/24", "10.9.2/x"), 18, "routeIPv4subnet"),
            (FORWARDING.replace("*.free", "free.*"), 19, "routeDnsWildcard"),
            (FORWARDING.replace('"false"/>', '"false">x</routeTo>'), 20, "authRequired"),
            (FORWARDING.replace('"false"/>', '"no"/>'), 20, "authRequired"),
            ("<!DOCTYPE routes>\n" + FORWARDING, 1, "document type"),
        ):
            with self.assertRaises(RulesRefused) as caught:
                load_forwarding_rules(self._file(text))
            self.assertIn(f":{line}: ", str(caught.exception))
            self.assertIn(problem, str(caught.exception))
        for text, line, problem in (
            (AUTH.replace("<userPattern>911", "<userPattern>[9"), 4, "userPattern"),
            (AUTH.replace("<permissionMatch/>", ""), 4, "permissionMatch"),
            (AUTH.replace("<hostPattern>gw1.example.com</hostPattern>", ""), 2, "hostPattern"),
        ):
            with self.assertRaises(RulesRefused) as caught:
                load_auth_rules(self._file(text))
            self.assertIn(f":{line}: ", str(caught.exception))
            self.assertIn(problem, str(caught.exception))

    def test_mapping_rules(self) -> None:
        """
        Every kind of host, and both kinds of transform.
        """
        rules = load_mapping_rules(self._file(MAPPING), SYMBOLS)
        held = frozenset({"Voicemail"})
        for host in ("example.com", "SIPX1.example.com:5060", "sip.branch.example.com", "10.1.1.77"):
            self.assertEqual(
                rules.contacts(Uri.parse(f"sip:3201@{host}"), held),
                ["<sip:201@vm.example.com:5100;mb=3201>;q=0.1"],
            )
        self.assertEqual(
            rules.contacts(Uri.parse("sip:812@example.com;transport=tcp"), held),
            ["<sip:912@vm.example.com;a=812?X=y>;q=0.5"],
        )
        for host in ("example.org", "branch.example.com", "10.1.2.1", "10.1.1", "example.com:5061"):
            self.assertEqual(rules.contacts(Uri.parse(f"sip:3201@{host}"), held), [])

    def test_fallback_rules_come_under_two_names(self) -> None:
        """
        Older files have the namespace of the mapping rules; those do not have
        that of the fallback rules.
        """
        newer = MAPPING.replace(MAPPING_NAMESPACE, FALLBACK_NAMESPACE)
        for text in (MAPPING, newer):
            rules = load_fallback_rules(self._file(text), SYMBOLS)
            self.assertEqual(len(rules.contacts(Uri.parse("sip:812@example.com"), frozenset())), 1)
        with self.assertRaises(RulesRefused) as caught:
            load_mapping_rules(self._file(newer), SYMBOLS)
        self.assertIn(MAPPING_NAMESPACE, str(caught.exception))

    def test_what_is_wrong_with_a_mapping_is_named_with_its_line(self) -> None:
        """
        Also what would only come to light with the first call.
        """
        for old, new, line, problem in (
            ("<callTag>VM</callTag>", "<tag/>", 11, "<tag> is not known"),
            ("3xxx", "[3", 10, "class without ]"),
            ('format="url"', 'format="regex"', 5, "the format 'regex' is not known"),
            ("*.branch", "branch", 6, "is not *.domain"),
            ("10.1.1.0/24", "10.1.1.0/33", 7, "hostPattern"),
            ("{vdigits}@", "{vdigit}@", 14, "{vdigit} stands for nothing here"),
            ("{mediaserver}", "{nowhere}", 14, "{nowhere} stands for nothing here"),
            ("{mediaserver}", "no where", 14, "transform: "),
            ("<user>9{vdigits}</user>", "<url>sip:1@h</url>", 19, "a url alone"),
            ("<user>9{vdigits}</user>", "<user>1</user><user>2</user>", 21, "one user"),
            (
                "<url>&lt;sip:{vdigits}@{mediaserver};mb={digits-escaped}&gt;;q=0.1</url>",
                "",
                14,
                "a url alone",
            ),
            ("<host>{voicemail}</host>", "<host>a b</host>", 19, "transform: "),
            ("<callTag>VM</callTag>", "<callerLocationMatch/>", 11, "where callers are is not known"),
        ):
            with self.assertRaises(RulesRefused) as caught:
                load_mapping_rules(self._file(MAPPING.replace(old, new)), SYMBOLS)
            self.assertIn(f":{line}: ", str(caught.exception))
            self.assertIn(problem, str(caught.exception))
        lost = re.sub("<hostPattern.*</hostPattern>", "", MAPPING)
        with self.assertRaises(RulesRefused) as caught:
            load_mapping_rules(self._file(lost), SYMBOLS)
        self.assertIn(":2: a hostMatch needs a hostPattern", str(caught.exception))

    def test_a_symbol_needs_a_meaning(self) -> None:
        """
        A rule for a voicemail server that nobody named is refused, not left
        out.
        """
        with self.assertRaises(RulesRefused) as caught:
            load_mapping_rules(self._file(MAPPING), {})
        self.assertIn(":14: url: {mediaserver} stands for nothing here", str(caught.exception))

    def test_a_missing_file_is_named(self) -> None:
        """
        Without a line, for there is none.
        """
        with self.assertRaises(RulesRefused) as caught:
            load_auth_rules(Path("/nonexistent/authrules.xml"))
        self.assertEqual(str(caught.exception), "/nonexistent/authrules.xml: No such file or directory")

    def test_entities_reach_no_file(self) -> None:
        """
        A rule file cannot read other files into itself.
        """
        text = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>\n' + AUTH.replace("gw1", "&e;")
        with self.assertRaises(RulesRefused):
            load_auth_rules(self._file(text))

    def test_the_namespaces_are_those_of_sipx(self) -> None:
        """
        Files of sipXpbx are taken as they are.
        """
        self.assertEqual(FORWARDING_NAMESPACE.rsplit("/", 1)[1], "forwardingrules-00-00")
        self.assertEqual(AUTH_NAMESPACE.rsplit("/", 1)[1], "urlauth-00-00")
        self.assertEqual(MAPPING_NAMESPACE.rsplit("/", 1)[1], "urlmap-00-00")
        self.assertEqual(FALLBACK_NAMESPACE.rsplit("/", 1)[1], "fallback-00-00")
