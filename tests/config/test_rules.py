"""
Tests for L{sipxha.config.rules}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.rules import (
    AUTH_NAMESPACE,
    FORWARDING_NAMESPACE,
    RulesRefused,
    load_auth_rules,
    load_forwarding_rules,
)
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

    def test_auth_rules(self) -> None:
        """
        Several patterns share one permissionMatch; an empty one asks nothing.
        """
        rules = load_auth_rules(self._file(AUTH))
        for user, permissions in (("911", set()), ("1234", {"LocalDialing"}), ("2234", {"LocalDialing"})):
            self.assertEqual(rules.required(Uri.parse(f"sip:{user}@gw1.example.com")), permissions)

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
            (FORWARDING.replace("</routes>", ""), 18, ""),
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
