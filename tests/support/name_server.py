"""
A DNS server as a process of its own, for nodes that outlive a test:
C{python -m tests.support.name_server ZONE ADDRESS PORT}.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.internet import reactor

from sipxha.net.dns import serve_zone


def main(zone: str, address: str, port: str) -> None:
    """
    Serve until the process is ended.
    """
    serve_zone(reactor, Path(zone), address, int(port))
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
