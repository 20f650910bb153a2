"""
Tests for L{sipxha.services.start_check}.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.config.model import Listener
from sipxha.services.start_check import file_problems, is_running, port_problems, start_problems, warnings
from tests.support.certs import Authority


class StartProblemsTests(SynchronousTestCase):
    """
    Tests for what a node would not start with.
    """

    def setUp(self) -> None:
        """
        Make a node that could start.
        """
        # The name of a socket is short, and trial's folders are deep.
        folder = Path(mkdtemp())
        self.addCleanup(FilePath(str(folder)).remove)
        servers = [Server("sipx1.example.com", "127.1.1.1")]
        make_cluster(folder / "c", Cluster("example.com", servers, embedded=True))
        self.home = folder / "c" / "sipx1.example.com"
        # Ports are looked at in a test of their own.
        self.config = replace(
            load(self.home / "sipxha.xml"), proxy=None, authproxy=None, registrar=None, console=None
        )

    def test_a_new_node_has_none(self) -> None:
        """
        It can start.
        """
        self.assertEqual(start_problems(self.config), [])

    def test_a_certificate_that_ends_soon_is_a_warning(self) -> None:
        """
        And no problem yet.
        """
        soon = Authority(Path(self.mktemp())).issue("sipx1.example.com")
        config = replace(self.config, tls=soon)
        self.assertEqual(start_problems(config), [])
        self.assertEqual(warnings(self.config), [])
        for warning, path in zip(warnings(config), (soon.certificate, soon.authority), strict=True):
            self.assertRegex(warning, rf"^{path} ends on [0-9-]+: renew it$")

    def test_every_file_is_read(self) -> None:
        """
        Each bad one is a problem that begins with its name.
        """
        names = [
            "credential.xml",
            "forwardingrules.xml",
            "authrules.xml",
            "mappingrules.xml",
            "fallbackrules.xml",
            "zone.db",
        ]
        for name in names:
            (self.home / name).write_text("<html>\n")
        problems = file_problems(load(self.home / "sipxha.xml"))
        self.assertEqual(
            [problem.split(":")[0] for problem in problems], [str(self.home / name) for name in names]
        )

    def test_the_data_folder_can_be_made_but_not_where_there_is_none(self) -> None:
        """
        One level is made.
        """
        node = self.config.node
        self.assertEqual(start_problems(replace(self.config, node=replace(node, data=self.home / "new"))), [])
        (problem,) = start_problems(replace(self.config, node=replace(node, data=self.home / "no" / "where")))
        self.assertEqual(problem, f"{self.home}/no is not a folder")
        (problem,) = start_problems(replace(self.config, node=replace(node, data=self.home / "zone.db")))
        self.assertEqual(problem, f"{self.home}/zone.db is not a folder")

    def test_a_socket_has_a_short_name(self) -> None:
        """
        Better said now than as an error of the kernel.
        """
        deep = self.home / ("x" * 90)
        (problem,) = start_problems(replace(self.config, node=replace(self.config.node, data=deep)))
        self.assertIn("a socket's name may have 107 bytes at most", problem)

    def test_a_node_runs_once(self) -> None:
        """
        A socket that somebody answers on is a running node; one that a killed
        node left is not.
        """
        node = self.config.node
        with socket.socket(socket.AF_UNIX) as running:
            running.bind(str(node.control_socket))
            running.listen()
            self.assertTrue(is_running(node))
            self.assertEqual(
                start_problems(self.config),
                [f"the node sipx1.example.com is running already, on {node.data}"],
            )
        self.assertFalse(is_running(node))
        self.assertEqual(start_problems(self.config), [])


class PortProblemsTests(SynchronousTestCase):
    """
    Tests for the trial bind.
    """

    def test_every_port_that_is_taken_is_named(self) -> None:
        """
        With the service that wanted it.
        """
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with datagrams as udp, socket.socket() as tcp, socket.socket() as tls:
            for each in (udp, tcp, tls):
                each.bind(("127.0.0.1", 0))
            tcp.listen()
            tls.listen()
            wanted = [
                Listener("udp", "127.0.0.1", udp.getsockname()[1], "proxy"),
                Listener("tcp", "127.0.0.1", tcp.getsockname()[1], "registrar"),
                Listener("tls", "127.0.0.1", tls.getsockname()[1], "authproxy"),
            ]
            self.assertEqual(
                port_problems(wanted),
                [
                    f"{service}: cannot listen on {transport} 127.0.0.1:{port}: Address already in use"
                    for transport, _, port, service in wanted
                ],
            )
        self.assertEqual(port_problems(wanted), [])

    def test_an_address_of_another_machine_cannot_be_bound(self) -> None:
        """
        The commonest slip of all.
        """
        (problem,) = port_problems([Listener("tcp", "192.0.2.1", 5060, "proxy")])
        self.assertEqual(
            problem, "proxy: cannot listen on tcp 192.0.2.1:5060: Cannot assign requested address"
        )
