"""
A small PBX core that keeps basic calling alive when a server dies.

The packages, lowest first; each may import only what stands above it here:

    - errors: whose fault a failure is, and the SIP status that says so
    - sip: messages and header values (RFC 3261 sections 7, 19, 20, 25)
    - transaction: the four transaction machines (RFC 3261 section 17)
    - auth, registry, routing, cdr: digest, bindings, paths of a request,
      call detail records; they do not know each other
    - sync: replication of the registry between nodes
    - config: the configuration and the files that it names
    - net, store: sockets and databases
    - services: one Twisted service for each of a node's jobs
    - cli, tap: the C{sipxha} command and the C{twistd} plugin

Down to C{sync} everything is pure: values in, values out, time an argument.
"""
