"""
A baresip without a screen: its settings, its commands and its events, which its
module ctrl_tcp takes and gives as JSON in netstrings.

It finds its node by the pair's own name server.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.protocols.basic import NetstringReceiver

from tests.support.pair import DOMAIN, pause
from tools import foreground
from tools.interop.softphone import EXPIRES, PORTS, RING_TIME, Event, Softphone
from tools.interop.stage import PASSWORD
from tools.story import Failed, until

CONTROL = 4444

EVENTS = {
    "REGISTER_OK": Event.REGISTERED,
    "CALL_INCOMING": Event.RINGS,
    "CALL_RINGING": Event.HEARS_RINGING,
    "CALL_ESTABLISHED": Event.TALKS,
    "CALL_CLOSED": Event.ENDED,
}

CONFIG = """
sip_listen {address}:5060
sip_cafile {authority}
call_local_timeout {ring_time}
call_max_calls 4
# Both ends of a bridge: it hears itself.
audio_player aubridge,phone
audio_source aubridge,phone
audio_alert aubridge,alert
ringback_disabled yes
rtp_ports {rtp}-{rtp_end}
net_interface {address}
dns_server {dns}
module_path {modules}
module g711.so
module aubridge.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {address}:{control}
"""

ACCOUNT = (
    "<sip:{user}@{domain};transport={transport}>;auth_user={user};auth_pass={password}"
    ';outbound="sip:{node}:{port};transport={transport}";regint={expires};answermode=manual\n'
)

MODULES = "/usr/lib/baresip/modules"

reactor = foreground.reactor


class Control(NetstringReceiver):
    """
    The connection to a baresip.
    """

    def __init__(self, phone: Baresip) -> None:
        self._phone = phone

    def stringReceived(self, string: bytes) -> None:
        """
        Something happened, or a command was done.
        """
        said: dict[str, Any] = json.loads(string)
        event = EVENTS.get(said.get("type", ""))
        if event is not None:
            self._phone.happened(event, " ".join(filter(None, (said["type"], said.get("param")))))
        elif said.get("response"):
            self._phone.answers.append((bool(said["ok"]), said["data"].strip()))


class Baresip(Softphone):
    """
    A process of baresip.
    """

    program = "baresip"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.answers: list[tuple[bool, str]] = []
        """What it said to our commands."""

        self._control: Control

    async def start(self) -> None:
        """
        Write what it needs, run it, connect.
        """
        line = self.line
        (self.folder / "config").write_text(
            CONFIG.format(
                address=line.address,
                authority=line.node.folder / "ssl" / "ca.crt",
                ring_time=RING_TIME,
                rtp=line.rtp,
                rtp_end=line.rtp + 20,
                dns="{}:{}".format(*self.stage.pair.dns),
                modules=MODULES,
                control=CONTROL,
            )
        )
        (self.folder / "accounts").write_text(
            ACCOUNT.format(
                user=line.user,
                domain=DOMAIN,
                password=PASSWORD,
                transport=line.transport,
                node=line.node.name,
                port=PORTS[line.transport],
                expires=EXPIRES,
            )
        )
        (self.folder / "contacts").write_text("")
        # -s: it writes every message, TLS or not.
        self.stage.spawn(self, "baresip", "-s", "-f", str(self.folder), home=self.folder)
        for _ in range(100):
            try:
                self._control = await connectProtocol(
                    TCP4ClientEndpoint(reactor, line.address, CONTROL, timeout=1), Control(self)
                )
                return
            except ConnectError:
                await pause(reactor, 0.05)
        raise Failed(f"{self.name} does not listen; see {self.folder}")

    def outReceived(self, data: bytes) -> None:
        """
        Every message, for the reader of a failed run.
        """
        with (self.folder / "log").open("ab") as log:
            log.write(data)

    async def leave(self) -> None:
        """
        It does so when it quits.
        """
        self._send("quit")
        await until(lambda: not self.is_running, f"{self.name} does not quit; see {self.folder}", 10)

    def dial(self, user: str) -> None:
        """
        Call somebody.
        """
        self._send("dial", self.aor(user))

    def answer(self) -> None:
        """
        Take the call that rings.
        """
        self._send("accept")

    def hang_up(self) -> None:
        """
        End a call, or answer it 486.
        """
        self._send("hangup")

    def hold(self) -> None:
        """
        Put the call on hold.
        """
        self._send("hold")

    def resume(self) -> None:
        """
        Go on with it.
        """
        self._send("resume")

    def transfer(self, user: str) -> None:
        """
        REFER.
        """
        self._send("transfer", self.aor(user))

    def _send(self, command: str, parameters: str = "") -> None:
        self._control.sendString(json.dumps({"command": command, "params": parameters}).encode())
