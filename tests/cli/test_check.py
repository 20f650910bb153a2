"""
Tests for L{sipxha.cli.check}.
"""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from tempfile import mkdtemp
from threading import Thread

from click.testing import CliRunner, Result
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cli.main import main
from sipxha.config.init import Cluster, Server, make_cluster

CONFIGURATION = """\
<sipxha xmlns="urn:sipxha:config:1">
<domain name="example.com"/>
<node name="sipx1.example.com" address="127.0.0.1"/>
<secret file="secret.key"/>
<users credentials="credential.xml" permissions="permission.xml" aliases="alias.xml"/>
<registrar udp="{port}"/>
</sipxha>
"""

MD5_ONLY = """\
<items type="credential">
<item><uri>sip:200@example.com</uri><realm>example.com</realm><userid>200</userid>
<passtoken>0123456789abcdef0123456789abcdef</passtoken><authtype>DIGEST</authtype></item>
</items>
"""


def serve_peers(control: socket.socket) -> None:
    """
    Be seen to run, and then answer one question as a node does whose peer differs.
    """
    control.accept()[0].close()
    connection, _ = control.accept()
    with connection:
        connection.recv(1 << 16)
        peers = [{"name": "sipx2.example.com", "differs": ["users", "secret"]}, {"name": "sipx3.example.com"}]
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(peers).encode())


class CheckTests(SynchronousTestCase):
    """
    Tests for C{sipxha check}.
    """

    def setUp(self) -> None:
        """
        Make a node with a registrar, whose port is held for it.
        """
        # The name of a socket is short, and trial's folders are deep.
        folder = Path(mkdtemp())
        self.addCleanup(FilePath(str(folder)).remove)
        make_cluster(
            folder / "c", Cluster("example.com", [Server("sipx1.example.com", "127.0.0.1")], embedded=True)
        )
        self.home = folder / "c" / "sipx1.example.com"
        self.config = self.home / "sipxha.xml"
        self.port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.port.close)
        self.port.bind(("127.0.0.1", 0))
        self.port_number: int = self.port.getsockname()[1]
        self.config.write_text(CONFIGURATION.format(port=self.port_number))

    def check(self, *options: str) -> Result:
        """
        Run the verb.
        """
        return CliRunner().invoke(main, ["check", "--config", str(self.config), *options])

    def test_programs_get_an_object_for_each_finding(self) -> None:
        """
        With file and line where it names them; none where all is well.
        """
        self.port.close()
        result = self.check("--json")
        self.assertEqual((result.exit_code, json.loads(result.output)), (0, []))
        (self.home / "data").chmod(0o755)
        (self.home / "credential.xml").write_text(MD5_ONLY)
        result = self.check("--json")
        error, warning = json.loads(result.output)
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(
            error,
            {
                "severity": "error",
                "file": f"{self.home}/credential.xml",
                "line": None,
                "message": "200@example.com has no SHA-256 hash: use sipxha user passwd",
            },
        )
        self.assertEqual((warning["severity"], warning["file"]), ("warning", None))
        self.assertIn("is open to others", warning["message"])

    def test_programs_get_what_is_wrong_with_the_configuration(self) -> None:
        """
        Before anything else is looked at, as people do.
        """
        self.config.write_text(self.config.read_text().replace("<node ", "<nodde "))
        result = self.check("--json")
        rows = json.loads(result.output)
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(
            [(row["file"], row["line"]) for row in rows], [(str(self.config), 1), (str(self.config), 3)]
        )
        self.config.unlink()
        (row,) = json.loads(self.check("--json").output)
        self.assertEqual((row["line"], row["message"]), (None, "No such file or directory"))

    def test_a_good_node_can_start(self) -> None:
        """
        One line says so.
        """
        self.port.close()
        result = self.check()
        self.assertEqual(
            (result.exit_code, result.output), (0, f"{self.config}: the node sipx1.example.com can start\n")
        )

    def test_the_ports_of_a_running_node_are_its_own(self) -> None:
        """
        It can be checked before a restart.
        """
        with socket.socket(socket.AF_UNIX) as control:
            control.bind(str(self.home / "data" / "control.sock"))
            control.listen()
            node = Thread(target=serve_peers, args=(control,))
            node.start()
            result = self.check()
            node.join()
        self.assertIn("sipx1.example.com runs", result.stdout)
        self.assertEqual(result.exit_code, 0)
        self.assertIn(
            "warning: sipx2.example.com has not the same as this node: users, secret", result.stderr
        )
        result = self.check()
        self.assertEqual(result.exit_code, 1)
        self.assertIn("Address already in use", result.stderr)

    def test_every_problem_is_a_line(self) -> None:
        """
        And the status is 1.
        """
        self.port.close()
        (self.home / "credential.xml").write_text("<items")
        (self.home / "data").rmdir()
        (self.home / "data").touch()
        result = self.check()
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertEqual(len(result.stderr.splitlines()), 2, result.stderr)

    def test_an_open_data_folder_is_a_warning(self) -> None:
        """
        The node takes the folder that the operator made, but says what is wrong with it.
        """
        self.port.close()
        (self.home / "data").chmod(0o755)
        result = self.check()
        self.assertEqual(result.exit_code, 0)
        self.assertTrue(result.stderr.startswith(f"warning: {self.home}/data is open to others (mode 0755)"))
        self.assertEqual(len(result.stderr.splitlines()), 1)

    def test_an_emergency_number_that_leads_nowhere_is_a_warning(self) -> None:
        """
        The node starts all the same; one that the rules know is nothing to
        speak of.
        """
        self.port.close()
        rules = self.home / "fallbackrules.xml"
        pattern = "<hostPattern>example.com</hostPattern><userMatch><userPattern>112</userPattern>"
        transform = "<transform><url>&lt;sip:112@gw1.net&gt;</url></transform>"
        rules.write_text(
            '<mappings xmlns="http://www.sipfoundry.org/sipX/schema/xml/fallback-00-00">'
            f"<hostMatch>{pattern}{transform}</userMatch></hostMatch></mappings>"
        )
        text = self.config.read_text()
        registrar = '<registrar tcp="{}"><fallback-rules file="fallbackrules.xml"/></registrar>'
        text = re.sub(
            r"<registrar.*?(/>|</registrar>)", registrar.format(self.port_number), text, flags=re.DOTALL
        )
        self.config.write_text(text.replace("</sipxha>", "<emergency>112 911</emergency></sipxha>"))
        result = self.check()
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("warning: the emergency number 911 leads nowhere", result.stderr)
        self.assertNotIn("number 112", result.stderr)
        text = self.config.read_text()
        gateways = "<gateways>gw1.net</gateways></domain>"
        self.config.write_text(re.sub(r"(<domain [^>]*)/>", rf"\1>{gateways}", text))
        self.assertNotIn("leads nowhere", self.check().stderr)
        self.config.write_text(text.replace("112 911", "112 nine"))
        self.assertIn("numbers of 2 to 15 digits", self.check().stderr)

    def test_wrong_rules_are_a_line_with_their_place(self) -> None:
        """
        As at the start.
        """
        self.port.close()
        authproxy = f'<authproxy tcp="{self.port_number}"><auth-rules file="authrules.xml"/></authproxy>'
        text = self.config.read_text()
        self.config.write_text(text.replace("</sipxha>", f"{authproxy}\n</sipxha>"))
        rules = self.home / "authrules.xml"
        namespace = "http://www.sipfoundry.org/sipX/schema/xml/urlauth-00-00"
        rules.write_text(f'<mappings xmlns="{namespace}">\n<hostMatch>\n</hostMatch>\n</mappings>\n')
        result = self.check()
        self.assertEqual(
            (result.exit_code, result.stderr), (1, f"{rules}:2: a hostMatch needs a hostPattern\n")
        )

    def test_users_who_cannot_answer_are_named(self) -> None:
        """
        With the algorithm that they lack.
        """
        self.port.close()
        (self.home / "credential.xml").write_text(MD5_ONLY)
        result = self.check()
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(
            result.stderr,
            f"{self.home}/credential.xml: 200@example.com has no SHA-256 hash: use sipxha user passwd\n",
        )
