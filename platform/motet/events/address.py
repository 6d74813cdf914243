"""Addresses of servers, with what is secret in them taken from the environment."""

import os
import re

from motet.errors import EventLogError


def from_environment(url: str) -> str:
    """Return an address with the values of its `${NAME}`.

    Raises:
        EventLogError: if one is not set.
    """
    lacking = [name for name in re.findall(r"\$\{(\w+)\}", url) if name not in os.environ]
    if lacking:
        raise EventLogError(f"serve.events.url: {lacking[0]} is not set in the environment; set it where Ray runs")
    return re.sub(r"\$\{(\w+)\}", lambda match: os.environ[match[1]], url)
