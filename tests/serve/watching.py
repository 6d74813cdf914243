"""What an endpoint says of itself, waited for; and clients that ask it all the while."""

import threading
import time
from itertools import cycle

from tests.serve.graphs import ask

USERS = [f"u{number:02d}" for number in range(24)]


def told(address: str) -> list[dict]:
    """What the endpoint says of itself, so many times that both Gateways have their say."""
    return [ask(address, "/v1/release")[2] for _ in range(12)]


def wait_until_served(address: str, name: str) -> float:
    return wait_until_all(address, lambda about: about["release"] == name)


def wait_until_all(address: str, holds, seconds: float = 20.0) -> float:
    return wait_for(lambda: all(map(holds, told(address))), seconds)


def wait_for(what, seconds: float = 20.0) -> float:
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)
    return time.monotonic() - began


class Load:
    """Clients that ask until told to stop."""

    def __init__(self, address: str, clients: int = 4) -> None:
        self.answers, self.address, self.over = [], address, threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=(place,)) for place in range(clients)]

    def _ask(self, place: int) -> None:
        for user in cycle(USERS[place::4]):
            if self.over.is_set():
                return
            self.answers.append(ask(self.address, "/v1/recommend", {"user_id": user, "k": 4}))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
