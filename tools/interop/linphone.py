"""
A linphone without a screen: linphone-daemon, which reads commands and writes
what happens.

It asks the name servers of C{/etc/resolv.conf} only, so it gets one of its own,
by a mount namespace.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import IProcessTransport

from tests.support.pair import DOMAIN
from tools.interop.softphone import EXPIRES, PORTS, RING_TIME, Event, Softphone
from tools.interop.stage import PASSWORD
from tools.story import until

EVENTS = {
    "LinphoneCallIncomingReceived": Event.RINGS,
    "LinphoneCallOutgoingRinging": Event.HEARS_RINGING,
    "LinphoneCallStreamsRunning": Event.TALKS,
    "LinphoneCallPaused": Event.HOLDS,
    "LinphoneCallPausedByRemote": Event.HELD,
    "LinphoneCallEnd": Event.ENDED,
    "LinphoneCallError": Event.ENDED,
}

BEGINNINGS = ("LinphoneCallIncomingReceived", "LinphoneCallOutgoingInit")
"""With these, a call has its number.  The last words of an older one may come after."""

SILENT = "ANULL: NULL device"

CONFIG = """
[sip]
bind_address={address}
sip_port={udp}
sip_tcp_port={tcp}
sip_tls_port={tls}
contact="{user}" <sip:{user}@{address}>
root_ca={authority}
verify_server_certs=1
verify_server_cn=1
guess_hostname=0
use_ipv6=0
inc_timeout={ring_time}

[rtp]
audio_rtp_port={rtp}

[sound]
playback_dev_id={silent}
capture_dev_id={silent}
ringer_dev_id={silent}
remote_ring=
local_ring=

[proxy_0]
reg_proxy=<sip:{node}:{port};transport={transport}>
reg_route=<sip:{node}:{port};transport={transport};lr>
reg_identity=<sip:{user}@{domain}>
reg_expires={expires}
reg_sendregister=1

[auth_info_0]
username={user}
passwd={password}
realm={domain}
domain={domain}
"""


class Linphone(Softphone):
    """
    A process of linphone-daemon.
    """

    program = "linphone"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._rest = ""
        self._event = ""
        self._call = ""
        """Its number for the newest call."""

    async def start(self) -> None:
        """
        Write what it needs, and run it.
        """
        line = self.line
        ports = {transport: PORTS[transport] if transport == line.transport else 0 for transport in PORTS}
        config = self.folder / "linphonerc"
        config.write_text(
            CONFIG.format(
                **ports,
                address=line.address,
                user=line.user,
                domain=DOMAIN,
                password=PASSWORD,
                authority=line.node.folder / "ssl" / "ca.crt",
                ring_time=RING_TIME,
                rtp=line.rtp,
                silent=SILENT,
                node=line.node.name,
                port=PORTS[line.transport],
                transport=line.transport,
                expires=EXPIRES,
            )
        )
        servers = self.folder / "resolv.conf"
        servers.write_text("nameserver [{}]:{}\n".format(*self.stage.pair.dns))
        # Without it, it has no database.
        (self.folder / ".local" / "share" / "linphone").mkdir(parents=True)
        self.stage.spawn(
            self,
            "unshare",
            *("--mount", *(() if self.stage.is_root else ("--map-root-user",))),
            *("sh", "-c", f'mount --bind {servers} /etc/resolv.conf && exec "$@"', "sh", "linphone-daemon"),
            *("--config", str(config), "--log", str(self.folder / "log"), "--disable-stats-events"),
            home=self.folder,
        )

    def connectionMade(self) -> None:
        """
        We type.
        """

    def outReceived(self, data: bytes) -> None:
        """
        Keep what it says, and see what happens.
        """
        with (self.folder / "said").open("ab") as said:
            said.write(data)
        *lines, self._rest = (self._rest + data.decode(errors="replace")).split("\n")
        for text in lines:
            name, _, value = text.partition(": ")
            if name == "Event":
                self._event = value
            elif name == "Id" and self._event:
                if self._event in BEGINNINGS:
                    self._call = value
                if self._event in EVENTS:
                    self.happened(EVENTS[self._event], self._event)
                self._event = ""

    def errReceived(self, data: bytes) -> None:
        """
        It complains of the sound card that it has not.
        """
        with (self.folder / "errors").open("ab") as errors:
            errors.write(data)

    async def leave(self) -> None:
        """
        Unregister and quit.
        """
        self._send("unregister ALL")
        self._send("quit")
        await until(lambda: not self.is_running, f"{self.name} does not quit; see {self.folder}", 10)

    def dial(self, user: str) -> None:
        """
        Call somebody.
        """
        self._send(f"call {self.aor(user)}")

    def answer(self) -> None:
        """
        Take the call that rings.
        """
        self._send(f"answer {self._call}")

    def hang_up(self) -> None:
        """
        End a call, or answer it 603.
        """
        self._send(f"terminate {self._call}")

    def hold(self) -> None:
        """
        Put the call on hold.
        """
        self._send(f"call-pause {self._call}")

    def resume(self) -> None:
        """
        Go on with it.
        """
        self._send(f"call-resume {self._call}")

    def transfer(self, user: str) -> None:
        """
        REFER.
        """
        self._send(f"call-transfer {self._call} {self.aor(user)}")

    def _send(self, command: str) -> None:
        cast(IProcessTransport, self.transport).writeToChild(0, f"{command}\n".encode())
