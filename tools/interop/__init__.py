"""
Lines that are cut between nodes, and clients that we did not write, against a
running pair::

    python -m tools.interop

Debian's sipp, sipsak, baresip and linphone, the names served by its nsd, and SIPVicious from PyPI; tcpdump
keeps what they said for the reader of a failed run.  The exit status is 0 only
if every client got what it expected.

    play      the order of the chapters
    install   what pip installs, in a fresh environment
    servers   the pages that say what to type, followed on bare Debian machines
    page      what a page of the documentation has its reader do
    lab       machines in namespaces
    office    telephones that know nothing but the domain
    stage     the pair, its users, the clients' processes and what was counted
    dns       nsd, which serves the zone of the domain, and named-checkzone
    client    the process of a client
    sipp      a process of sipp and its figures
    crowd     sipp: a thousand calls, ten thousand users
    calls     sipp: a hundred calls a second, and a node that dies
    sipsak    sipsak: asks, pings, registers, unregisters
    softphone what baresip and linphone have in common, as a play sees it
    baresip   a baresip without a screen
    linphone  a linphone without a screen
    phones    what the softphones do: register, call, hold, transfer
    strangers SIPVicious: who scans for users and guesses passwords
    capture   tcpdump
    cuts      what is lost between three nodes, and how they find together again
    cluster   three nodes, their phones, and what everybody knows
    network   hosts with a network of their own (ip netns), and cuts between them
"""
