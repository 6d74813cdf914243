"""Whose data a workspace may hold, and under which names.

secret       the workspace's key; what is kept of a user instead of an id is computed with it
privacy      users who were forgotten, and pseudonyms; as of one moment
watch        the same for a process that goes on, as the files have it now
"""
