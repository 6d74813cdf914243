"""Taking a user out of a workspace: `motet forget`.

tombstone   a keyed hash, from which endpoints and every later prepare know whom to leave out
events      the log (`motet.events.erasure`)
records     answers that the user was given
stages      rows of what the pipeline left; vectors of texts that nobody else has
releases    published anew without the user
receipt     what was searched and removed
"""
