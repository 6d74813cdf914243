"""Items that come, change or go between releases: the durable log of them, and what it makes of a catalogue.

entry       one item that was added (with the vector of its text) or removed; its JSON
place       where the log lies
rows        entries as rows of the items' table, by the same contract as a file's
tower       item vectors of rows, without the rest of the network
live        a catalogue that follows the log
following   what each step does to follow it
export      the log as a file, to prepare from
"""
