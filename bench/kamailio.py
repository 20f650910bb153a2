"""
Debian's kamailio as a yardstick, in memory: a registrar alone, with digest and
one UDP worker; two that replicate by C{dmq_usrloc}, without digest; or one
proxy that stays in the dialogs.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from bench.load import PASSWORD

_MODULES = "/usr/lib/x86_64-linux-gnu/kamailio/modules/"

_HEAD = """\
debug=0
log_stderror=no
fork=yes
tcp_children=1
auto_aliases=no
dns=no
rev_dns=no
disable_sctp=yes
server_signature=no
alias="example.com"
listen=udp:{address}:{port}
mpath="{modules}"
"""

_PAIR = (
    _HEAD
    + """\
children=2
loadmodule "kex.so"
loadmodule "tm.so"
loadmodule "pv.so"
loadmodule "sl.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "ctl.so"
loadmodule "dmq.so"
loadmodule "dmq_usrloc.so"
modparam("ctl", "binrpc", "unix:{folder}/ctl")
modparam("usrloc", "db_mode", 0)
modparam("usrloc", "hash_size", 12)
modparam("registrar", "default_expires", 3600)
modparam("dmq", "server_address", "sip:{address}:{port}")
modparam("dmq", "notification_address", "sip:{other}:{port}")
modparam("dmq", "num_workers", 2)
modparam("dmq", "ping_interval", 15)
modparam("dmq_usrloc", "enable", 1)
modparam("dmq_usrloc", "sync", 1)

request_route {{
    if ($rm == "KDMQ") {{
        dmq_handle_message();
        exit;
    }}
    if ($rm == "REGISTER") {{
        save("location");
        exit;
    }}
    sl_send_reply("405", "Method Not Allowed");
}}
"""
)

_ALONE = (
    _HEAD
    + """\
children=1
loadmodule "kex.so"
loadmodule "pv.so"
loadmodule "sl.so"
loadmodule "maxfwd.so"
loadmodule "sanity.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("usrloc", "db_mode", 0)
modparam("usrloc", "hash_size", 12)
modparam("registrar", "default_expires", 3600)
modparam("registrar", "min_expires", 60)
modparam("registrar", "max_contacts", 10)
modparam("auth", "nonce_expire", 300)

request_route {{
    if (!mf_process_maxfwd_header("10") || !sanity_check()) {{
        exit;
    }}
    if ($rm != "REGISTER") {{
        sl_send_reply("405", "Method Not Allowed");
        exit;
    }}
    if (!pv_www_authenticate("example.com", "{password}", "0")) {{
        www_challenge("example.com", "1");
        exit;
    }}
    if ($au != $tU) {{
        sl_send_reply("403", "Forbidden");
        exit;
    }}
    save("location");
}}
"""
)

_PROXY = (
    _HEAD
    + """\
children=1
dns_cache_init=off
use_dns_failover=no
loadmodule "kex.so"
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "pv.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "sanity.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
modparam("tm", "failure_reply_mode", 3)
modparam("tm", "fr_timer", 30000)
modparam("tm", "fr_inv_timer", 120000)
modparam("rr", "enable_full_lr", 0)
modparam("rr", "append_fromtag", 0)
modparam("usrloc", "db_mode", 0)
modparam("registrar", "default_expires", 3600)

request_route {{
    if (!mf_process_maxfwd_header("10")) {{
        sl_send_reply("483", "Too Many Hops");
        exit;
    }}
    if (!sanity_check("1511", "7")) {{
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) {{
            t_relay();
        }}
        exit;
    }}
    if (!is_method("ACK")) {{
        if (t_precheck_trans()) {{
            t_check_trans();
            exit;
        }}
        t_check_trans();
    }}
    if (has_totag()) {{
        if (loose_route()) {{
            t_relay();
        }} else if (is_method("ACK")) {{
            if (t_check_trans()) {{
                t_relay();
            }}
        }} else {{
            sl_send_reply("404", "Not here");
        }}
        exit;
    }}
    if (is_method("REGISTER")) {{
        save("location");
        exit;
    }}
    remove_hf("Route");
    if (is_method("INVITE|SUBSCRIBE")) {{
        record_route();
    }}
    if (!lookup("location")) {{
        sl_send_reply("404", "Not Found");
        exit;
    }}
    if (!t_relay()) {{
        sl_reply_error();
    }}
}}
"""
)

PORT = 5160


class Kamailio:
    """
    One node.
    """

    def __init__(
        self, folder: Path, address: str, other: str | None = None, *, proxies: bool = False
    ) -> None:
        """
        @param other: the other node of a pair; without, this one stands alone.

        @param proxies: whether it is a proxy, which takes every registration.
        """
        self.folder = folder
        self.address = address
        folder.mkdir(parents=True)
        fields = {"address": address, "port": PORT, "modules": _MODULES, "folder": folder}
        if proxies:
            text = _PROXY.format(**fields)
        elif other is None:
            text = _ALONE.format(**fields, password=PASSWORD)
        else:
            text = _PAIR.format(**fields, other=other)
        (folder / "kamailio.cfg").write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_here() -> bool:
        """
        Whether it is installed.
        """
        return shutil.which("kamailio") is not None and (Path(_MODULES) / "dmq_usrloc.so").exists()

    @property
    def is_started(self) -> bool:
        """
        Whether there is something to stop.
        """
        return self._process is not None

    @property
    def pids(self) -> list[int]:
        """
        All its processes.
        """
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [self._process.pid, *map(int, children)]

    def start(self) -> None:
        """
        Start, and wait until its port is bound.
        """
        command = ["kamailio", "-f", str(self.folder / "kamailio.cfg"), "-DD", "-E", "-m", "512", "-M", "16"]
        self._process = subprocess.Popen(
            [*command, "-Y", str(self.folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        octets = "".join(f"{int(octet):02X}" for octet in reversed(self.address.split(".")))
        wanted = f"{octets}:{PORT:04X}"
        until = time.monotonic() + 10
        while wanted not in Path("/proc/net/udp").read_text():
            if time.monotonic() > until or self._process.poll() is not None:
                raise TimeoutError("kamailio did not open its port")
            time.sleep(0.05)

    def freeze(self) -> None:
        """
        Stop every process of it, as a machine that hangs.
        """
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """
        Let them go on.
        """
        for pid in self.pids:
            os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        """
        End all of it; it is known to hang when asked.
        """
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
