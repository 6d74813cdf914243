"""Protocols by name: overrides of a recipe that say how it is divided and what is known when each event is asked about.

time            the latest events are the test; a user's history are the parts before
leave-one-out   each user's last event is the test; the history is everything before
ratings         rows are divided at random; each event is asked about with the user's earlier events of train
"""

import json

from motet.data_settings import Split
from motet.errors import RecipeError

NAMED = {
    "time": ("time", "parts"),
    "leave-one-out": ("leave_one_out", "parts"),
    "ratings": ("random", "before"),
}
"""`data.split.kind` and `evaluate.history` by name."""


def protocol_overrides(name: str, split: Split) -> list[str]:
    """Return the overrides (`a.b=c`) that put a recipe under a named protocol.

    Args:
        name: time, leave-one-out or ratings.
        split: the recipe's own: its shares of validation and test are kept, and `until` if it is by time.

    Raises:
        RecipeError: if there is no protocol of that name.
    """
    if name not in NAMED:
        raise RecipeError(f"--protocol {name} is not a protocol; protocols: {', '.join(NAMED)}")
    kind, history = NAMED[name]
    value = {"kind": kind, "validation": split.validation, "test": split.test}
    if kind == "time":
        value["until"] = split.until
    settings = {"data.split": value, "evaluate.history": history, "evaluate.least_history": 0}
    return [f"{key}={json.dumps(one)}" for key, one in settings.items()]
