"""
What operators put beside a node, run for real: promtool, fail2ban, systemd and
schemathesis.
"""

from __future__ import annotations

import re
import socket
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, readBody

from sipxha.config.load import load
from tools import foreground
from tools.interop.client import Client
from tools.interop.sipsak import Sipsak
from tools.interop.stage import Stage
from tools.story import expect, last_lines, until

ETC = Path(__file__).parents[2] / "etc"

EXPOSURE = 2.0
"""What C{systemd-analyze security} may say at most; 10 is all exposed."""

SCHEMATHESIS_SECONDS = 30

SPOOF = "127.200.200.200"
"""Where what is no SIP comes from."""


class _Relay(Protocol):
    """
    One of two connections, which say the same.
    """

    transport: Any
    other: _Relay | None = None

    def dataReceived(self, data: bytes) -> None:
        """
        Say it to the other.
        """
        if self.other is not None:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        End the other, too.
        """
        if self.other is not None and self.other.transport is not None:
            self.other.transport.loseConnection()


class _Entrance(_Relay):
    """
    A connection over TCP, led to the control socket: schemathesis knows no other.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def connectionMade(self) -> None:
        """
        Connect to the socket before anything is read.
        """
        self.transport.pauseProducing()
        self.other = _Relay()
        self.other.other = self
        connecting = connectProtocol(UNIXClientEndpoint(foreground.reactor, self._path), self.other)
        connecting.addCallbacks(
            lambda _: self.transport.resumeProducing(), lambda _: self.transport.loseConnection()
        )


class Operations:
    """
    Everything that these programs do.
    """

    def __init__(self, stage: Stage, sipsak: Sipsak) -> None:
        """
        @param sipsak: a phone with a wrong password.
        """
        self.stage = stage
        self._sipsak = sipsak

    async def rules(self) -> str:
        """
        The alert rules, and their tests.
        """
        folder = ETC / "prometheus"
        checked = await self._run("promtool", "check", "rules", str(folder / "sipxha.rules.yml"))
        tested = await self._run("promtool", "test", "rules", str(folder / "sipxha.rules.test.yml"))
        return f"{last_lines(checked, 1).strip()}; tests: {last_lines(tested, 1).strip()}"

    async def metrics(self) -> str:
        """
        What a real node tells, by promtool's own judgement of names and types.
        """
        console = load(self.stage.east.config).console
        assert console is not None
        url = f"http://{console.address}:{console.port}/metrics"
        response = await Agent(foreground.reactor).request(b"GET", url.encode())
        page: bytes = await readBody(response)
        file = self.stage.folder / "metrics"
        file.write_bytes(page)
        found = await self._run("sh", "-c", f"promtool check metrics < {file}")
        expect(not found.strip(), found)
        return f"{len(re.findall(rb'(?m)^# TYPE', page))} metrics, promtool check metrics: nothing"

    async def ban(self) -> str:
        """
        sipsak guesses, and somebody sends what is no SIP by datagrams; the
        filter finds the one in its first mode and both in its other.
        """
        east = self.stage.east
        log = load(east.config).log.security
        assert log is not None
        await self._sipsak.wrong_password()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((SPOOF, 0))
            stranger.sendto(b"rubbish\r\n\r\n", (east.address, 5060))
        await until(lambda: SPOOF in log.read_text(), f"no line about {SPOOF}")
        normal, aggressive = [
            (
                await self._run("fail2ban-regex", "-o", "<ip>", str(log), f"{self._filter}[mode={mode}]")
            ).split()
            for mode in ("normal", "aggressive")
        ]
        events = log.read_text().count("event=auth-failed")
        expect(events > 0 and len(normal) >= events, f"{events} wrong passwords, found: {normal}")
        expect(SPOOF not in normal, f"{SPOOF} sent a datagram, and would be banned for it")
        expect(SPOOF in aggressive, f"not found: {SPOOF} in {aggressive}")
        return (
            f"{events} wrong passwords of {', '.join(sorted(set(normal)))}; {SPOOF} by mode=aggressive only"
        )

    @property
    def _filter(self) -> str:
        return str(ETC / "fail2ban" / "filter.d" / "sipxha.conf")

    async def exposure(self) -> str:
        """
        By the unit alone.
        """
        unit = str(ETC / "systemd" / "sipxha.service")
        said = await self._run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
        found = re.search(r"exposure level for \S+ ([\d.]+) (\w+)", said)
        assert found is not None, said
        expect(float(found[1]) <= EXPOSURE, f"systemd-analyze security: {found[1]} {found[2]}")
        return f"systemd-analyze security: {found[1]} {found[2]}"

    async def fuzz_api(self) -> str:
        """
        All but C{/drain}, which would end the node, at the control socket.
        """
        config = load(self.stage.east.config)
        relays = Factory.forProtocol(partial(_Entrance, str(config.node.control_socket)))
        port = foreground.reactor.listenTCP(0, relays, interface="127.0.0.1")
        try:
            where = f"http://127.0.0.1:{port.getHost().port}"
            said = await self._run(
                *("schemathesis", "run", f"{where}/openapi.json", "--url", where, "--exclude-path", "/drain"),
                # No schema says which text is a SIP URI, and whose.
                *(
                    "--checks",
                    "all",
                    "--exclude-checks",
                    "positive_data_acceptance",
                    "--no-color",
                    "--generation-database",
                    "none",
                    "--warnings",
                    "off",
                ),
                *("--max-time", str(SCHEMATHESIS_SECONDS)),
            )
        finally:
            await port.stopListening()
        expect(self.stage.east.is_running, "the node ended")
        return last_lines(said, 1).strip("= ")

    async def _run(self, program: str, *arguments: str) -> str:
        """
        @return: what it said, if it ended well.
        """
        client = Client()
        self.stage.spawn(client, program, *arguments)
        status = await client.ended
        expect(status == 0, f"{program} ended with {status}:\n{last_lines(client.output, 60)}")
        return client.output
