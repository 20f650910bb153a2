"""
Tests for what is in etc/: that a node which was made by C{sipxha init} can be
started by the unit and by the init script.
"""

from __future__ import annotations

import getpass
import json
import re
import subprocess
from configparser import ConfigParser
from pathlib import Path
from tempfile import mkdtemp

from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.security_events import EVENTS, SecurityEvents

ETC = Path(__file__).parent.parent / "etc"

TWISTD = """\
#!/bin/sh
for option; do
    case "$option" in
        --pidfile=*) echo $$ > "${option#--pidfile=}" ;;
        --logfile=*) echo "$@" > "${option#--logfile=}" ;;
    esac
done
"""
"""Writes where the real one would."""


class UnitTests(SynchronousTestCase):
    """
    Tests for the systemd unit.
    """

    def setUp(self) -> None:
        """
        Read it.
        """
        self.path = ETC / "systemd" / "sipxha.service"
        unit = ConfigParser(interpolation=None, strict=False)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read(self.path)
        self.service = unit["Service"]

    def test_a_node_can_write_its_data_where_init_puts_them(self) -> None:
        """
        Beside the configuration, in a folder that the unit would protect.
        """
        found = re.search(r"--config (\S+)", self.service["ExecStart"])
        assert found is not None
        self.assertEqual(self.service["ProtectSystem"], "strict")
        self.assertIn(str(Path(found[1]).parent), self.service["ReadWritePaths"].split())


class InitScriptTests(SynchronousTestCase):
    """
    Tests for the init script, with places of our own.
    """

    def setUp(self) -> None:
        """
        Install a program that only writes its files.
        """
        self.folder = Path(mkdtemp())
        self.addCleanup(FilePath(str(self.folder)).remove)
        twistd = self.folder / "twistd"
        twistd.write_text(TWISTD)
        twistd.chmod(0o755)
        text = (ETC / "init.d" / "sipxha").read_text()
        for name, value in (
            ("BIN", self.folder),
            ("RUNAS", getpass.getuser()),
            ("CONFIG", self.folder / "sipxha.xml"),
            ("LOGFILE", self.folder / "log" / "sipxha" / "sipxha.log"),
            ("RUNDIR", self.folder / "run" / "sipxha"),
        ):
            text, count = re.subn(rf"(?m)^{name}=.*$", f"{name}={value}", text)
            self.assertEqual(count, 1, name)
        (self.folder / "sipxha.xml").touch()
        self.script = self.folder / "sipxha"
        self.script.write_text(text)

    def run_script(self, verb: str) -> tuple[int, str]:
        """
        Run it as a shell does; give its status and all that it says.
        """
        ran = subprocess.run(["/bin/sh", self.script, verb], check=False, capture_output=True, text=True)
        return ran.returncode, ran.stdout + ran.stderr

    def test_a_start_needs_no_folder_that_nobody_made(self) -> None:
        """
        Log and pid file have theirs, which others may not enter.
        """
        self.assertEqual(self.run_script("start"), (0, "sipxha is started\n"))
        log = self.folder / "log" / "sipxha" / "sipxha.log"
        self.assertIn(f"sipxha --config {self.folder}/sipxha.xml", log.read_text())
        self.assertTrue((self.folder / "run" / "sipxha" / "sipxha.pid").exists())
        self.assertEqual(log.parent.stat().st_mode & 0o777, 0o750)

    def test_what_is_not_configured_is_not_started(self) -> None:
        """
        Which is no failure: so it is after the package was installed.
        """
        config = self.folder / "sipxha.xml"
        config.unlink()
        self.assertEqual(self.run_script("start"), (0, f"sipxha is not configured: {config} is missing\n"))
        self.assertFalse((self.folder / "run").exists())

    def test_what_left_a_pid_file_is_dead(self) -> None:
        """
        Status 1 as LSB has it, 3 where there is none; and nothing is to be stopped.
        """
        self.assertEqual(self.run_script("status"), (3, "sipxha is not running\n"))
        self.run_script("start")
        self.assertEqual(self.run_script("status"), (1, "sipxha is dead\n"))
        self.assertEqual(self.run_script("stop"), (0, "sipxha is not running\n"))

    def test_anything_else_is_wrong_usage(self) -> None:
        """
        Status 2.
        """
        status, said = self.run_script("jump")
        self.assertEqual(status, 2)
        self.assertIn("usage:", said)


class Fail2banTests(SynchronousTestCase):
    """
    Tests for the filter of fail2ban, whose own program C{make interop} runs.
    """

    def setUp(self) -> None:
        """
        Read it, as fail2ban puts it together.
        """
        definition = ConfigParser()
        definition.read(ETC / "fail2ban" / "filter.d" / "sipxha.conf")
        self.patterns = {
            mode: [
                re.compile(line.replace("<HOST>", r"(?P<host>[0-9a-f.:]+)"))
                for line in definition["Definition"][f"mdre-{mode}"].splitlines()
            ]
            for mode in ("normal", "aggressive")
        }
        self.assertEqual(definition["Definition"]["datepattern"], "^%Y-%m-%dT%H:%M:%S%z")

    def hosts(self, mode: str, *events: tuple[str, str]) -> list[str]:
        """
        Whom it finds in lines of these events and transports.
        """
        lines: list[str] = []
        security = SecurityEvents()
        security.write = lines.append
        for number, (event, transport) in enumerate(events):
            detail = 'x" source=10.9.9.9 transport=tcp\n2026-11-22T05:14:00Z sipxha'
            security.saw(event, f"192.0.2.{number}", 1_795_324_440.0, transport=transport, detail=detail)
        found = []
        for line in lines:
            self.assertEqual(line[:20], "2026-11-22T05:14:00Z")
            # The date is cut out before a line is compared.
            matches = [match for each in self.patterns[mode] if (match := each.search(line[20:]))]
            found += [match["host"] for match in matches[:1]]
        return found

    def test_it_bans_by_what_proves_the_address(self) -> None:
        """
        Anybody can send a datagram in the name of anybody.
        """
        proved = [("auth-failed", "-"), ("auth-held", "-"), ("refused", "tcp"), ("rate", "tls")]
        proved += [("replication-refused", "tls"), ("database-refused", "tls")]
        others = [("refused", "udp"), ("rate", "udp"), ("stranger", "tcp"), ("malformed", "udp")]
        self.assertEqual({event for event, _ in (*proved, *others)}, set(EVENTS))
        everybody = [f"192.0.2.{number}" for number in range(len(proved) + len(others))]
        self.assertEqual(self.hosts("normal", *proved, *others), everybody[: len(proved)])
        self.assertEqual(self.hosts("aggressive", *proved, *others), everybody)

    def test_the_jail_reads_what_the_documents_say(self) -> None:
        """
        One file, by the filter that is beside it.
        """
        jail = ConfigParser(interpolation=None)
        jail.read(ETC / "fail2ban" / "jail.d" / "sipxha.conf")
        self.assertEqual(jail["sipxha"]["filter"], "sipxha[mode=normal]")
        pages = (ETC.parent / "docs" / "operations.md").read_text()
        self.assertIn(f'security="{jail["sipxha"]["logpath"]}"', pages)


class MetricTests(SynchronousTestCase):
    """
    Tests for what names metrics: alert rules and dashboard.
    """

    def setUp(self) -> None:
        """
        What /metrics exports, by its page in the documents, which
        L{tests.test_docs} holds against the program.
        """
        section = (ETC.parent / "docs" / "operations.md").read_text().partition("## Metrics")[2]
        rows = re.findall(r"^\| `(sipxha_\w+)(?:\{(.*?)\})?`", section, re.MULTILINE)
        self.exported = {name: set(labels.split(",")) - {""} for name, labels in rows}
        self.rules = (ETC / "prometheus" / "sipxha.rules.yml").read_text()
        self.board = json.loads((ETC / "grafana" / "sipxha.json").read_text())

    def named(self, text: str) -> dict[str, set[str]]:
        """
        The metrics that expressions name, with the labels that they choose by.
        """
        found: dict[str, set[str]] = {}
        for name, chosen in re.findall(r"\b(sipxha_\w+)(?:\{(.*?)\})?", text):
            series = re.fullmatch(r"(\w+_seconds)_(?:bucket|sum|count)", name)
            name = series[1] if series else name
            found.setdefault(name, set()).update(re.findall(r"(\w+)=~?\"", chosen))
        return found

    def expressions(self) -> list[str]:
        """
        All of the dashboard.
        """
        return [target["expr"] for panel in self.board["panels"] for target in panel.get("targets", ())]

    def test_every_metric_that_they_name_is_exported_with_those_labels(self) -> None:
        """
        Prometheus would say nothing of one that is not, and never alert.
        """
        of_prometheus = {"instance", "job"}
        queries = [each["query"]["query"] for each in self.board["templating"]["list"][1:]]
        for text in (self.rules, "\n".join([*self.expressions(), *queries])):
            named = self.named(text)
            self.assertGreater(len(named), 10)
            self.assertEqual(set(named) - set(self.exported), set())
            for name, labels in named.items():
                self.assertEqual(labels - self.exported[name] - of_prometheus, set(), name)

    def test_the_dashboard_shows_every_metric(self) -> None:
        """
        But for the one that is always 1.
        """
        shown = set(self.named("\n".join(self.expressions())))
        self.assertEqual(set(self.exported) - shown, {"sipxha_up"})

    def test_the_panels_of_the_dashboard_have_their_places(self) -> None:
        """
        None lies on another one, and none is wider than the page.
        """
        taken: set[tuple[int, int]] = set()
        for panel in self.board["panels"]:
            place = panel["gridPos"]
            cells = {
                (place["x"] + right, place["y"] + down)
                for right in range(place["w"])
                for down in range(place["h"])
            }
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells
        identities = [panel["id"] for panel in self.board["panels"]]
        self.assertEqual(len(set(identities)), len(identities))

    def test_every_alert_has_a_test_and_says_what_to_do(self) -> None:
        """
        C{make interop} has promtool run them.
        """
        alerts = re.findall(r"- alert: (\w+)", self.rules)
        self.assertEqual(len(alerts), self.rules.count("description:"))
        tested = (ETC / "prometheus" / "sipxha.rules.test.yml").read_text()
        self.assertEqual([alert for alert in alerts if alert not in tested], [])
