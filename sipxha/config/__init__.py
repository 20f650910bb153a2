"""
What a node is told: the configuration, and the files that it names.

    model         one frozen value for each element of sipxha.xml
    limits        what a connection may cost
    load          sipxha.xml -> model, or every problem with its line
    schema        sipxha.rng, and what to say of a document that breaks it
    pem_files     whether certificate, key and authority belong together
    init          the folders of a new cluster
    cluster_change  the same folders, with a node more or less
    zone          the DNS zone fragment of the domain
    zone_check    what DNS says beside what the cluster needs
    certificates  authority and node certificates
    tables        the tables of people as files: versions, locks, whole sets
    user_set      all users as one text, and whether nodes have the same
    users         credential.xml, permission.xml and alias.xml
    rules         forwardingrules.xml and authrules.xml
    whole_file    how files are written
    sipx          the tables and settings of sipXpbx, for who comes from there
    takeover      people and settings of sipXpbx into a node's files

Files are read here, before a reactor runs; nothing here opens a socket.
"""
