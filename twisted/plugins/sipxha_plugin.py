"""
Makes C{twistd sipxha} known.  Nothing of ours is imported until it is used.
"""

from twisted.application.service import ServiceMaker

sipxha = ServiceMaker(
    "sipxha",
    "sipxha.tap",
    "A small PBX core that keeps basic calling alive when a server dies.",
    "sipxha",
)
