"""
Tests for L{sipxha.config.takeover}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.digest import ha1
from sipxha.auth.users import Users
from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.config.model import Config
from sipxha.config.sipx import SipxFileRefused
from sipxha.config.takeover import (
    KNOWN,
    LEFT,
    TAKEN,
    Outcome,
    take_aliases,
    take_credentials,
    take_permissions,
    take_settings,
)
from sipxha.config.users import add_user, load_users
from tests.support.sipx import table

DOMAIN = "example.com"
NODE = f"sipx1.{DOMAIN}"
HASH = ha1("201", DOMAIN, "secret", "MD5")


class TakeoverCase(SynchronousTestCase):
    """
    Has a node that C{sipxha init} made, and a file of sipX.
    """

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        make_cluster(folder, Cluster(DOMAIN, (Server(NODE, "127.0.0.1"),), embedded=True))
        self.file = folder / NODE / "sipxha.xml"
        self.path = Path(self.mktemp())

    @property
    def config(self) -> Config:
        """
        What the node would read.
        """
        return load(self.file)

    @property
    def users(self) -> Users:
        """
        The same, of people.
        """
        return load_users(self.config.users, DOMAIN, DOMAIN)

    def assert_outcomes(self, found: list[Outcome], *expected: str) -> None:
        """
        Check what became of each item: outcome, or C{left} and a part of the
        reason.
        """
        self.assertEqual(len(found), len(expected), found)
        for outcome, words in zip(found, expected, strict=True):
            kind, _, reason = words.partition(" ")
            self.assertEqual((outcome.file, outcome.outcome), (self.path, kind), outcome)
            self.assertIn(reason, outcome.reason)
            self.assertEqual(bool(outcome.reason), kind == LEFT)


class PeopleTests(TakeoverCase):
    """
    Tests for tables of people.
    """

    def credentials(self, *items: dict[str, str]) -> list[Outcome]:
        """
        Take credentials.
        """
        defaults = {"uri": f"sip:201@{DOMAIN}", "realm": DOMAIN, "userid": "201", "passtoken": HASH}
        self.path.write_text(table("credential", *({**defaults, **item} for item in items)))
        return take_credentials(self.path, self.config)

    def test_a_hash_is_taken_as_md5_only(self) -> None:
        """
        There is no other; C{sipxha check} will name the user.
        """
        self.assert_outcomes(self.credentials({"pintoken": "0" * 32}), TAKEN)
        self.assertEqual(self.users.ha1("201", DOMAIN, "MD5"), HASH)
        self.assertEqual(self.users.lacking(["SHA-256"]), {"SHA-256": [f"201@{DOMAIN}"]})
        self.assertEqual(self.config.users.credentials.stat().st_mode & 0o777, 0o600)

    def test_a_password_is_hashed_and_not_kept(self) -> None:
        """
        sipX 4.2 stored the password itself.
        """
        self.assert_outcomes(self.credentials({"passtoken": "secret"}), TAKEN)
        for algorithm in ("MD5", "SHA-256"):
            self.assertEqual(
                self.users.ha1("201", DOMAIN, algorithm), ha1("201", DOMAIN, "secret", algorithm)
            )
        self.assertNotIn("secret", self.config.users.credentials.read_text())

    def test_who_is_here_already_keeps_the_password(self) -> None:
        """
        Under whichever name; it can be done again.
        """
        add_user(self.config.users, f"201@{DOMAIN}", DOMAIN, "other")
        before = self.config.users.credentials.read_bytes()
        outcomes = self.credentials({}, {"userid": "ann"}, {"uri": f"sip:ann@{DOMAIN}"})
        self.assert_outcomes(outcomes, KNOWN, KNOWN, KNOWN)
        self.assertEqual(self.config.users.credentials.read_bytes(), before)
        self.assert_outcomes(self.credentials({"uri": "202@example.com", "userid": "202"}), TAKEN)
        self.assert_outcomes(self.credentials({"uri": "sip:202@EXAMPLE.com", "userid": "202"}), KNOWN)

    def test_what_cannot_be_taken(self) -> None:
        """
        Costs only itself, and has a reason.
        """
        outcomes = self.credentials(
            {"realm": "other"},
            {"uri": "sip:201@example.org"},
            {"uri": "sip:[@"},
            {"userid": "~~id~park"},
            {"userid": "two words"},
            {"passtoken": ""},
            {},
        )
        reasons = ("realm 'other'", "no user of", "", "sipX itself", "user name", "no passtoken")
        self.assert_outcomes(outcomes, *(f"{LEFT} {reason}" for reason in reasons), TAKEN)
        self.assertEqual([outcome.line for outcome in outcomes], list(range(2, 9)))

    def test_permissions_and_aliases(self) -> None:
        """
        Added to those that are there.
        """
        self.path.write_text(
            table(
                "permission",
                {"identity": f"sip:201@{DOMAIN}", "permission": "LocalDialing"},
                {"identity": "201@EXAMPLE.com", "permission": "LocalDialing"},
                {"identity": "201@example.org", "permission": "LocalDialing"},
                {"identity": f"201@{DOMAIN}"},
            )
        )
        outcomes = take_permissions(self.path, self.config)
        self.assert_outcomes(outcomes, TAKEN, KNOWN, f"{LEFT} no user", f"{LEFT} no permission")
        contact = f"&lt;sip:201@{DOMAIN};sipx-noroute=Voicemail?expires=25&gt;;q=0.95"
        self.path.write_text(
            table(
                "alias",
                {"identity": f"info@{DOMAIN}", "contact": contact},
                {"identity": f"info@{DOMAIN}", "contact": "&lt;sip:201"},
            )
        )
        self.assert_outcomes(take_aliases(self.path, self.config), TAKEN, LEFT)
        self.assert_outcomes(take_aliases(self.path, self.config), KNOWN, LEFT)
        self.assertEqual(self.users.permissions(f"201@{DOMAIN}"), frozenset(["LocalDialing"]))
        self.assertEqual(
            self.users.aliases(f"info@{DOMAIN}"),
            (f"<sip:201@{DOMAIN};sipx-noroute=Voicemail?expires=25>;q=0.95",),
        )

    def test_a_broken_table_changes_nothing(self) -> None:
        """
        Not even by the items before.
        """
        self.path.write_text(
            table("permission", {"identity": f"201@{DOMAIN}", "permission": "LocalDialing"})[:-9]
        )
        before = self.config.users.permissions.read_bytes()
        self.assertRaises(SipxFileRefused, take_permissions, self.path, self.config)
        self.assertEqual(self.config.users.permissions.read_bytes(), before)


class SettingTests(TakeoverCase):
    """
    Tests for settings.
    """

    def take(self, *lines: str) -> list[Outcome]:
        """
        Take settings.
        """
        self.path.write_text("\n".join(lines))
        return take_settings(self.path, self.file, self.config)

    def test_those_that_have_their_like_are_in_the_configuration(self) -> None:
        """
        With everything else that was in it.
        """
        text = self.file.read_text().replace("<registrar ", "<!-- phones -->\n  <registrar ")
        self.file.write_text(text)
        lines = (
            "SIP_REGISTRAR_MIN_EXPIRES_NORMAL : 300",
            "SIP_REGISTRAR_MAX_EXPIRES : 7000",
            f"SIP_DOMAIN_ALIASES : pbx.{DOMAIN}, {DOMAIN} sip.{DOMAIN}",
        )
        self.assert_outcomes(self.take(*lines), TAKEN, TAKEN, TAKEN)
        config = self.config
        assert config.registrar is not None
        self.assertEqual((config.registrar.min_expires, config.registrar.max_expires), (300, 7000))
        self.assertEqual(config.domain.aliases, (f"pbx.{DOMAIN}", f"sip.{DOMAIN}"))
        self.assertIn("<!-- phones -->", self.file.read_text())
        before = self.file.read_bytes()
        self.assert_outcomes(self.take(*lines), KNOWN, KNOWN, KNOWN)
        self.assertEqual(self.file.read_bytes(), before)

    def test_those_with_which_no_node_would_start_are_left(self) -> None:
        """
        All of them, and the file stays as it is.
        """
        before = self.file.read_bytes()
        outcomes = self.take("SIP_REGISTRAR_MIN_EXPIRES : 7200", f"SIP_DOMAIN_ALIASES : pbx.{DOMAIN}")
        self.assert_outcomes(outcomes, f"{LEFT} they must not fall", f"{LEFT} they must not fall")
        self.assertIn(str(self.file), outcomes[0].reason)
        self.assertEqual(self.file.read_bytes(), before)
        self.assertEqual([path for path in self.file.parent.iterdir() if "import" in path.name], [])

    def test_others_are_compared_or_left(self) -> None:
        """
        Each with what to look at.
        """
        self.assert_outcomes(
            self.take(
                f"SIP_REGISTRAR_DOMAIN_NAME : {DOMAIN.upper()}",
                "SIP_PROXY_DOMAIN_NAME : example.org",
                "SIP_REGISTRAR_AUTHENTICATE_REALM : other",
                "SIP_PROXY_UDP_PORT : DEFAULT",
                "SIP_PROXY_TCP_PORT : 5062",
                "SIP_REGISTRAR_BIND_IP : ${MY_IP_ADDR}",
                "SIP_REGISTRAR_NAME : one.example.com",
                "SIP_REGISTRAR_MAX_EXPIRES : soon",
                "SIP_REDIRECT_HOOK_LIBRARY.110-REG : x.so",
            ),
            KNOWN,
            f"{LEFT} the domain is {DOMAIN}",
            f"{LEFT} the realm is {DOMAIN}",
            KNOWN,
            f"{LEFT} DNS",
            f"{LEFT} template",
            f"{LEFT} <node name>",
            f"{LEFT} not a number",
            f"{LEFT} no such setting",
        )
