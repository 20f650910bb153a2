"""
Sees that all clients are there, and plays: all chapters, or those that are named::

    python -m tools.interop softphones sipp
"""

from __future__ import annotations

import os
import sys
from functools import partial

from tools import foreground
from tools.interop.play import AS_ROOT, CHAPTERS, Interop
from tools.interop.stage import find
from tools.story import tell

PACKAGES = {
    "sipp": "sip-tester",
    "sipsak": "sipsak",
    "baresip": "baresip-core",
    "linphone-daemon": "linphone-cli",
    "tcpdump": "tcpdump",
    "systemd-analyze": "systemd",
    "/usr/sbin/nsd": "nsd",
    "named-checkzone": "bind9-utils",
    "promtool": "prometheus",
    "fail2ban-regex": "fail2ban",
    "ip": "iproute2",
    "ss": "iproute2",
    "/usr/sbin/debootstrap": "debootstrap",
    "dpkg-buildpackage": "dpkg-dev",
    "dh": "debhelper",
}
"""The clients, and the Debian packages that have them."""

FROM_PYPI = ("sipvicious_svmap", "sipvicious_svwar", "sipvicious_svcrack", "schemathesis")
"""What C{make interop} installs."""


def main() -> int:
    """
    @return: the exit status.
    """
    missing = sorted({PACKAGES[program] for program in PACKAGES if find(program) is None})
    if missing:
        print(f"missing: apt-get install {' '.join(missing)}", file=sys.stderr)
    if not all(map(find, FROM_PYPI)):
        print("missing: pip install sipvicious schemathesis", file=sys.stderr)
        missing.append("sipvicious schemathesis")
    chapters = sys.argv[1:] or CHAPTERS
    unknown = [name for name in chapters if name not in CHAPTERS]
    if unknown:
        print(f"no such chapter: {', '.join(unknown)}; there are {', '.join(CHAPTERS)}", file=sys.stderr)
    forbidden = [name for name in chapters if name in AS_ROOT] if os.geteuid() != 0 else []
    if forbidden:
        print(f"only root may make networks (ip netns) for: {', '.join(forbidden)}", file=sys.stderr)
    if missing or unknown or forbidden:
        return 1
    return foreground.run(partial(tell, partial(Interop, chapters)))


if __name__ == "__main__":
    sys.exit(main())
