"""Events as they happen: the durable log, and what it says of users since the release.

    event          one event, checked; its JSON
    store          what a log can do: append (durable, each id once), read after a position
    segments       the log as files in the workspace;   redis_streams  as a Redis stream
    commit         many waiting requests, one append
    columns        events as the columns of interactions, from which labels are computed
    live           users with the events that the release does not know yet
    export         the log as a parquet file, to prepare from

Who may lose what: an event that was acknowledged is never lost while the disk holds what was synced to it. One that was
not acknowledged may be there or not, whole or not at all; sent again under the same id it counts once.
"""
