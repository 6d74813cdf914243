"""Load generators over HTTP, closed and open.

Closed: so many clients, each asks again when it has its answer. Open: so many requests a second, whether answers come
or not.

python bench/load.py closed URL CLIENTS SECONDS      body lines on standard input, seconds per answer on the output
python bench/load.py open URL RATE SECONDS
python bench/load.py open URL RATE SECONDS whole     a JSON line an answer: when due, status, seconds, body

The open loop measures from the moment at which a request was due, so that one slow answer is not hidden by the requests
that it held up.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from itertools import cycle

import aiohttp
import numpy as np

_MOST_OPEN = 512
NO_ANSWER = 0
"""The status of a request whose connection was refused or cut, or that had no answer in half a minute."""


@dataclass(frozen=True)
class Answer:
    """What came of one request."""

    due: float
    """When it was to be sent, by `time.perf_counter`, which on Linux is one clock for all processes."""
    status: int
    seconds: float
    """From then to the end of its answer."""
    body: str

    @property
    def if_ok(self) -> float | None:
        """Its seconds; None if it is not 200."""
        return self.seconds if self.status == 200 else None


async def closed(url: str, bodies: list[str], clients: int, seconds: float) -> list[Answer]:
    """Return every answer."""
    end, taken = time.perf_counter() + seconds, []

    async def one(client: aiohttp.ClientSession, own: list[str]) -> None:
        for body in cycle(own):
            began = time.perf_counter()
            if began > end:
                return
            taken.append(await _ask(client, url, body, began))

    async with _client() as client:
        await asyncio.gather(*(one(client, bodies[place::clients]) for place in range(clients)))
    return taken


async def opened(url: str, bodies: list[str], rate: float, seconds: float) -> list[Answer]:
    """Return every answer, in the order in which they were due; arrivals are a Poisson process."""
    gaps = np.random.default_rng(0).exponential(1 / rate, round(rate * seconds))
    due = time.perf_counter() + np.cumsum(gaps)

    async with _client() as client:

        async def one(moment: float, body: str) -> Answer:
            await asyncio.sleep(max(0.0, moment - time.perf_counter()))
            return await _ask(client, url, body, moment)

        return list(await asyncio.gather(*map(one, due, cycle(bodies))))


def _client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_MOST_OPEN),
        timeout=aiohttp.ClientTimeout(total=30),
        headers={"content-type": "application/json"},
    )


async def _ask(client: aiohttp.ClientSession, url: str, body: str, began: float) -> Answer:
    try:
        async with client.post(url, data=body) as response:
            said = await response.text()
            return Answer(began, response.status, time.perf_counter() - began, said)
    except (aiohttp.ClientError, TimeoutError) as error:
        return Answer(began, NO_ANSWER, time.perf_counter() - began, type(error).__name__)


def main() -> None:
    """Run one generator."""
    kind, url, how_many, seconds, *whole = sys.argv[1:]
    bodies = sys.stdin.read().splitlines()
    if kind == "closed":
        taken = asyncio.run(closed(url, bodies, int(how_many), float(seconds)))
    else:
        taken = asyncio.run(opened(url, bodies, float(how_many), float(seconds)))
    if whole:
        for answer in taken:
            print(json.dumps(asdict(answer)))
    else:
        json.dump([answer.if_ok for answer in taken], sys.stdout)


if __name__ == "__main__":
    main()
