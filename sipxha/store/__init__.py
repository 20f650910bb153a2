"""
What is kept on disk and in databases.

Adapters: each module speaks to one kind of storage and returns Deferreds.
Nothing here decides what a row or an event means.

    registrations  the registry's rows in SQLite, committed in groups
    registry_file  its file: schema, upgrades, and what is refused
    wal            whether SQLite's log is whole
    registration_xml  the registry as sipX kept it, read and written
    postgres       the embedded PostgreSQL server of a node
    pool           connections to one database, over txpostgres
    schema         versioned SQL files, applied and upgraded
    roles          users of the databases who may do their work and no more
    journal        call state events on disk before their messages leave
    cse_log        moves the journal into the node's own database
    cse_source     reads call state events of one host
    cdr_store      writes call detail records
    cdr_export     reads those of calls that ended, any number of them
"""
