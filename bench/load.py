"""Load generators over HTTP, closed and open.

Closed: so many clients, each asks again when it has its answer. Open: so many requests a second, whether answers come
or not.

python bench/load.py closed URL CLIENTS SECONDS      body lines on the standard input, seconds per answer on the output
python bench/load.py open URL RATE SECONDS

The open loop measures from the moment at which a request was due, so that one slow answer is not hidden by the requests
that it held up.
"""

import asyncio
import json
import sys
import time
from itertools import cycle

import aiohttp
import numpy as np

_MOST_OPEN = 512


async def closed(url: str, bodies: list[str], clients: int, seconds: float) -> list[float | None]:
    """Return the seconds of every answer; None for one that is not 200."""
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


async def opened(url: str, bodies: list[str], rate: float, seconds: float) -> list[float | None]:
    """Return the seconds from when each request was due to its answer; arrivals are a Poisson process."""
    gaps = np.random.default_rng(0).exponential(1 / rate, round(rate * seconds))
    due = time.perf_counter() + np.cumsum(gaps)

    async with _client() as client:

        async def one(moment: float, body: str) -> float | None:
            await asyncio.sleep(max(0.0, moment - time.perf_counter()))
            return await _ask(client, url, body, moment)

        return list(await asyncio.gather(*map(one, due, cycle(bodies))))


def _client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_MOST_OPEN),
        timeout=aiohttp.ClientTimeout(total=30),
        headers={"content-type": "application/json"},
    )


async def _ask(client: aiohttp.ClientSession, url: str, body: str, began: float) -> float | None:
    async with client.post(url, data=body) as response:
        await response.read()
        return time.perf_counter() - began if response.status == 200 else None


def main() -> None:
    """Run one generator."""
    kind, url, how_many, seconds = sys.argv[1:5]
    bodies = sys.stdin.read().splitlines()
    if kind == "closed":
        taken = asyncio.run(closed(url, bodies, int(how_many), float(seconds)))
    else:
        taken = asyncio.run(opened(url, bodies, float(how_many), float(seconds)))
    json.dump(taken, sys.stdout)


if __name__ == "__main__":
    main()
