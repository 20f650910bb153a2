"""
The C{sipxha} command and C{twistd sipxha}, as an operator types them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from sipxha.cli.db import COLUMNS as DB_COLUMNS
from sipxha.cli.main import VERBS
from sipxha.registry.binding import Binding
from sipxha.store.cdr_export import COLUMNS as CDR_COLUMNS
from tests.support.pair import DOMAIN, CommandFailed, free_network, run, sipxha
from tests.support.sipx import table
from tests.system.servers import BIN, PairTestCase, reactor, until

NAMES = (f"sipx1.{DOMAIN}", f"sipx2.{DOMAIN}")
NODE_FILES = {
    "sipxha.xml": 0o644,
    "zone.db": 0o644,
    "secret.key": 0o600,
    "credential.xml": 0o600,
    "permission.xml": 0o600,
    "alias.xml": 0o600,
    "fallbackrules.xml": 0o644,
    "forwardingrules.xml": 0o644,
    "mappingrules.xml": 0o644,
    "authrules.xml": 0o644,
    "ssl/node.crt": 0o644,
    "ssl/node.key": 0o600,
    "ssl/ca.crt": 0o644,
}
TIME = r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z"


class InstallationTests(TestCase):
    """
    Tests for what C{pip} has installed.
    """

    async def test_twistd_knows_us_in_any_folder(self) -> None:
        """
        Without a path to the checkout.
        """
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        for arguments in (["--help"], ["sipxha", "--help"]):
            out, err, status = await getProcessOutputAndValue(
                str(BIN / "twistd"), arguments, env=environment, path="/"
            )
            self.assertEqual((err, status), (b"", 0))
            self.assertRegex(out, rb"\bsipxha\b")

    async def test_the_help_names_all_verbs(self) -> None:
        """
        And each verb has its own.
        """
        out = await sipxha(reactor, "--help")
        for verb in VERBS:
            self.assertRegex(out, rf"\n  {verb} +[A-Z]")
        out = await sipxha(reactor, "user", "add", "--help")
        self.assertIn("--password-stdin", out)

    async def test_what_is_no_verb_is_a_usage_error(self) -> None:
        """
        Status 2, and how it is used.
        """
        for arguments in (["drink"], ["user", "add"], ["init"], ["status", "--no-such-option"]):
            status, out, err = await run(reactor, "sipxha", *arguments)
            self.assertEqual((status, out), (2, ""), arguments)
            self.assertTrue(err.startswith("Usage: sipxha "), err)


class NewClusterTests(TestCase):
    """
    Tests for the way from nothing to nodes that can start.
    """

    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]
        """
        C{sipxha init}.
        """
        # Short, because the path of a socket has to fit into 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="sipxha-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        network = free_network()
        self.cluster = self.folder / "new"
        self.init = ["init", str(self.cluster), f"--domain={DOMAIN}", "--embedded"]
        self.init += [f"--node={name}={network}.{number}" for number, name in enumerate(NAMES, 1)]
        self.said = await sipxha(reactor, *self.init)
        self.config = ["--config", str(self.cluster / NAMES[0] / "sipxha.xml")]

    async def refused(self, *arguments: str, stdin: str = "") -> str:
        """
        A command fails with status 1 and one line.

        @return: the line.
        """
        status, out, err = await run(reactor, "sipxha", *arguments, stdin=stdin)
        self.assertEqual((status, out), (1, ""), err)
        self.assertRegex(err, r"\Asipxha: .+\n\Z")
        return err

    async def rows(self, *arguments: str) -> Any:
        """
        What a command prints with C{--json}.
        """
        return json.loads(await sipxha(reactor, *arguments, "--json", *self.config))

    async def test_init_writes_all_that_nodes_need(self) -> None:
        """
        Secrets are their owner's; each node can start.
        """
        for name in NAMES:
            home = self.cluster / name
            modes = {
                str(path.relative_to(home)): stat.S_IMODE(path.stat().st_mode)
                for path in home.rglob("*")
                if path.is_file()
            }
            self.assertEqual(modes, NODE_FILES)
            self.assertEqual(stat.S_IMODE((home / "data").stat().st_mode), 0o700)
            out = await sipxha(reactor, "check", "--config", str(home / "sipxha.xml"))
            self.assertEqual(out, f"{home}/sipxha.xml: the node {name} can start\n")
            self.assertIn(str(home), self.said)
        self.assertEqual(sorted(path.name for path in self.cluster.iterdir()), ["ca", *NAMES, "zone.db"])
        self.assertEqual(stat.S_IMODE((self.cluster / "ca" / "ca.key").stat().st_mode), 0o600)

    async def test_init_touches_nothing_that_exists(self) -> None:
        """
        Nor does it leave anything behind when it is refused.
        """
        before = (self.cluster / NAMES[0] / "secret.key").read_bytes()
        self.assertIn(f"{self.cluster} exists already", await self.refused(*self.init))
        self.assertEqual((self.cluster / NAMES[0] / "secret.key").read_bytes(), before)
        self.init[1] = str(self.folder / "other")
        self.assertIn(
            "two nodes have the name", await self.refused(*self.init, f"--node={NAMES[0]}=127.0.0.9")
        )
        self.assertEqual([path.name for path in self.folder.iterdir()], ["new"])

    async def test_the_configuration_is_found_by_itself(self) -> None:
        """
        In C{etc/} of the folder, or where SIPXHA_CONFIG says.
        """
        home = self.cluster / NAMES[1]
        (home / "etc").symlink_to(".")
        for folder, more in ((home, {}), (self.folder, {"SIPXHA_CONFIG": str(home / "sipxha.xml")})):
            out, err, status = await getProcessOutputAndValue(
                str(BIN / "sipxha"), ["check"], env={**os.environ, **more}, path=str(folder)
            )
            self.assertEqual((err, status), (b"", 0))
            self.assertIn(f"the node {NAMES[1]} can start".encode(), out)

    async def test_users(self) -> None:
        """
        From their first password to their end.
        """
        for name in ("201", f"202@{DOMAIN}"):
            await sipxha(reactor, "user", "add", name, "--password-stdin", *self.config, stdin="secret\n")
        await sipxha(reactor, "user", "permit", "201", "LongDistanceDialing", "Voicemail", *self.config)
        await sipxha(reactor, "user", "forbid", "201", "Voicemail", *self.config)
        first, second = await self.rows("user", "list")
        self.assertEqual(
            first,
            {
                "identity": f"201@{DOMAIN}",
                "permissions": ["LongDistanceDialing"],
                "aliases": [],
                "digest": first["digest"],
            },
        )
        self.assertEqual(set(first["digest"]), {"MD5", "SHA-256"})
        self.assertEqual(second["identity"], f"202@{DOMAIN}")

        credentials = self.cluster / NAMES[0] / "credential.xml"
        before = credentials.read_bytes()
        self.assertNotIn(b"secret", before)
        self.assertIn(
            "201@example.com", await self.refused("user", "add", "201", "--password=x", *self.config)
        )
        self.assertIn("999@example.com", await self.refused("user", "remove", "999", *self.config))
        self.assertIn(
            "a password cannot be empty",
            await self.refused("user", "passwd", "201", "--password-stdin", *self.config, stdin="\n"),
        )
        self.assertEqual(credentials.read_bytes(), before)

        await sipxha(reactor, "user", "passwd", "201", "--password-stdin", *self.config, stdin="new\n")
        self.assertNotEqual(credentials.read_bytes(), before)
        await sipxha(reactor, "user", "remove", "201", *self.config)
        self.assertEqual([row["identity"] for row in await self.rows("user", "list")], [f"202@{DOMAIN}"])

    async def test_certificates(self) -> None:
        """
        Shown, made anew, and signed for a node that keeps its key.
        """
        own, authority = await self.rows("cert", "show")
        self.assertEqual(set(own), {"file", "subject", "names", "issuer", "not_before", "not_after"})
        self.assertEqual(
            own["names"], [f"DNS:{NAMES[0]}", f"DNS:{DOMAIN}", f"URI:sip:{DOMAIN}", f"URI:sip:{NAMES[0]}"]
        )
        self.assertEqual(own["issuer"], authority["subject"])
        for column in ("not_before", "not_after"):
            self.assertRegex(own[column], TIME)

        ssl = self.cluster / NAMES[0] / "ssl"
        before = (ssl / "node.crt").read_bytes()
        signer = ["--domain", DOMAIN, "--ca", str(self.cluster / "ca")]
        await sipxha(reactor, "cert", "node", NAMES[0], *signer, "--into", str(ssl))
        self.assertNotEqual((ssl / "node.crt").read_bytes(), before)

        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whatever")])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        path = self.folder / "request.pem"
        path.write_bytes(request.public_bytes(Encoding.PEM))
        signed = await sipxha(reactor, "cert", "sign", str(path), NAMES[0], *signer)
        self.assertEqual(x509.load_pem_x509_certificate(signed.encode()).public_key(), key.public_key())

        await sipxha(reactor, "check", *self.config)
        (ssl / "node.crt").write_text(signed)
        status, _, err = await run(reactor, "sipxha", "check", *self.config)
        self.assertEqual(status, 1)
        self.assertIn("is not the key of", err)
        await self.refused("cert", "ca", str(self.cluster / "ca"), "--domain", DOMAIN)

    async def test_the_zone(self) -> None:
        """
        As it was written, the same by each node; with addresses of the bare domain on request.
        """
        written = (self.cluster / "zone.db").read_text()
        for name in NAMES:
            out = await sipxha(reactor, "dns", "--config", str(self.cluster / name / "sipxha.xml"))
            self.assertEqual(out, written)
        apex = re.compile(rf"^{re.escape(DOMAIN)}\. +\d+ IN A ", re.M)
        self.assertEqual(len(apex.findall(written)), 0)
        self.assertEqual(len(apex.findall(await sipxha(reactor, "dns", "--apex", *self.config))), 2)

    async def test_databases(self) -> None:
        """
        Of a node that does not run: checked, made, checked again.
        """
        status, _, err = await run(reactor, "sipxha", "db", "check", *self.config)
        self.assertEqual(status, 1, err)
        for verb in ("init", "check", "upgrade"):
            rows = await self.rows("db", verb)
            self.assertEqual([row["purpose"] for row in rows], ["call-events", "call-resolver"])
            for row in rows:
                self.assertEqual(set(row), set(DB_COLUMNS))
                self.assertEqual((row["state"], row["version"]), ("ok", row["newest"]))
                self.assertEqual(row["missing_roles"], [])

    async def test_verbs_that_need_a_running_node(self) -> None:
        """
        Each says that there is none.
        """
        for verb in ("status", "peers", "registrations"):
            line = await self.refused(verb, *self.config)
            self.assertTrue(line.startswith(f"sipxha: the node {NAMES[0]} is not running; start it"), line)
        for arguments in (["resolve"], ["cdr", "list"]):
            self.assertIn("start the node first", await self.refused(*arguments, *self.config))


class RunningPairTests(PairTestCase):
    """
    Tests for what the nodes of a pair say.
    """

    async def rows(self, *arguments: str) -> Any:
        """
        What a command prints with C{--json} about the first node.
        """
        return json.loads(await sipxha(reactor, *arguments, "--json", "--config", str(self.east.config)))

    async def test_status(self) -> None:
        """
        One object for programs, lines for people.
        """
        (state,) = await self.rows("status")
        while state["call_resolver"].get("missing"):
            # The other one is still making its database.
            (state,) = await self.rows("status")
        started = state.pop("started")
        self.assertRegex(started, TIME)
        self.assertGreater(state.pop("update_number"), 1 << 32)
        self.assertGreaterEqual(state.pop("users"), 80)
        self.assertEqual(state.pop("transactions").keys(), {"proxy", "authproxy", "registrar"})
        self.assertEqual(
            state.pop("changes").keys(),
            {"registered", "refreshed", "removed", "flow closed", "administrative"},
        )
        self.assertTrue(all(status.isdigit() for status in state.pop("refusals")))
        self.assertEqual(state.pop("shed"), {})
        self.assertLess({"last_pass", "read_to", "missing"}, state.pop("call_resolver").keys())
        self.assertEqual(
            state,
            {
                "node": self.east.name,
                "ready": True,
                "degraded": False,
                "trouble": None,
                "registrations": len(self.east.registrations()),
                "emergency_calls": 0,
                "peers": 1,
                "peers_reachable": 1,
                "unacknowledged": 0,
            },
        )
        out = await sipxha(reactor, "status", "--config", str(self.east.config))
        self.assertRegex(out, r"(?m)^peers reachable +1 *$")

    async def test_peers(self) -> None:
        """
        Their state and how far they are.
        """
        (peer,) = await self.rows("peers")
        self.assertEqual(
            {
                name: value
                for name, value in {**peer, "sent": 0, "received": 0, "last_error": None}.items()
                if name not in ("since", "round_trip", "users", "certificate_end")
            },
            {
                "name": self.west.name,
                "state": "Reachable",
                "sent": 0,
                "received": 0,
                "behind": 0,
                "lag": 0.0,
                "dialect": "batch",
                "differs": [],
                "last_error": None,
                "next_try": None,
            },
        )
        for name in ("since", "certificate_end"):
            self.assertRegex(peer[name], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertLess(peer["since"], peer["certificate_end"])
        self.assertGreater(peer["round_trip"], 0.0)
        (state,) = await self.rows("status")
        self.assertLessEqual(peer["sent"], state["update_number"])

    async def test_registrations(self) -> None:
        """
        All columns of a row, of one user or of all.
        """
        phone = await self.registered(self.east, "tcp")
        for user in (phone.user, f"{phone.user}@{DOMAIN}"):
            (row,) = await self.rows("registrations", user)
            self.assertEqual(set(row), set(Binding._fields) - {"deadline"})
            self.assertEqual((row["identity"], row["primary"]), (f"{phone.user}@{DOMAIN}", self.east.name))
            self.assertRegex(row["expires"], TIME)
        self.assertIn(row, await self.rows("registrations"))
        self.assertEqual(await self.rows("registrations", "nobody"), [])
        out = await sipxha(reactor, "registrations", "--config", str(self.east.config))
        self.assertIn(phone.contact, out)

    async def test_a_pass_that_lacks_a_host_is_partial(self) -> None:
        """
        Status 3 and its name; 0 when it is back.  Records have all columns of the view.
        """
        caller = await self.registered(self.east)
        callee = await self.registered(self.east)
        call = await caller.call(callee.aor, through=self.east.address)
        self.assertEqual((await call.hang_up()).status, 200)
        await until(lambda: self.east.events(call.call_id) == "RSE", "the call was not logged")
        await self.west.stop()
        out = await sipxha(reactor, "resolve", "--config", str(self.east.config), status=3)
        self.assertRegex(out, rf"(?m)^ *{re.escape(self.west.name)}\S* .*\S")
        await self.west.start()
        while True:
            try:
                await sipxha(reactor, "resolve", "--config", str(self.east.config))
                break
            except CommandFailed as failed:
                # Its database comes up a moment after it serves.
                self.assertIn("status 3", str(failed))
        records = await self.rows("cdr", "list")
        self.assertIn(call.call_id, [record["call_id"] for record in records])
        self.assertEqual(set(records[0]), set(CDR_COLUMNS))

    async def test_times_that_are_none_are_a_usage_error(self) -> None:
        """
        Nothing is resolved.
        """
        config = ["--config", str(self.east.config)]
        for window in (["--start=yesterday"], ["--start=2030-01-02", "--end=2030-01-01"]):
            status, out, err = await run(reactor, "sipxha", "resolve", *window, *config)
            self.assertEqual((status, out), (2, ""))
            self.assertIn("Usage: sipxha resolve", err)

    async def test_check_while_the_node_runs(self) -> None:
        """
        Its ports are its own.
        """
        out = await sipxha(reactor, "check", "--config", str(self.east.config))
        self.assertEqual(out, f"{self.east.config}: the node {self.east.name} runs\n")

    async def test_registrations_of_sipx_are_taken_by_a_running_node(self) -> None:
        """
        And replicated as any other; they can be written as sipX kept them.
        """
        user = next(self.pair.users)
        item = {
            "callid": f"sipx-{user}",
            "cseq": "17",
            "uri": f"sip:{user}@{DOMAIN}",
            "contact": f"sip:{user}@10.1.1.7",
            "expires": str(int(time.time()) + 1000),
        }
        folder = Path(tempfile.mkdtemp(prefix="sipxha-"))
        self.addCleanup(shutil.rmtree, folder)
        (folder / "registration.xml").write_text(table("registration", item))
        for outcome in ("taken", "known"):
            (row,) = await self.rows("import-sipx", str(folder))
            self.assertEqual(row["outcome"], outcome)
        rows = {row["callid"]: row for row in await self.pair.level()}
        self.assertEqual(rows[f"sipx-{user}"]["primary"], self.east.name)
        out = await sipxha(reactor, "registrations", str(user), "--xml", "--config", str(self.east.config))
        (folder / "registration.xml").write_text(out)
        (row,) = await self.rows("import-sipx", str(folder))
        self.assertEqual(row["outcome"], "known")
