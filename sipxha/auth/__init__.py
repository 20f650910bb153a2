"""
Who is asking.

Pure: credentials, nonces and the time go in, verdicts come out.  Nothing here
reads files, knows the time or logs; passwords are hashed before they get here.

    users     the people of the domain: hashes, permissions, aliases
    nonce     signed, stateless challenges that every node can check
    rates     how much each source asks for
    failures  who guesses passwords, by where they come from
    digest    RFC 7616 and 8760: challenges out, credentials judged
    identity  the signed identity that travels between our services
    security_events  what comes from outside and should not, as lines that fail2ban reads
"""
