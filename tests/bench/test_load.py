"""The load generators: the open loop asks on time and hides no wait, the closed one asks again after each answer."""

import asyncio
import socket
import time
from itertools import pairwise

from aiohttp import web
from aiohttp.test_utils import TestServer

from bench.load import NO_ANSWER, closed, opened


class Endpoint:
    """Answers at once, but nothing for a while after the first request; 500 to a body of `bad`."""

    def __init__(self, stall_s):
        self.stall_s, self.arrived = stall_s, []
        self.lock = asyncio.Lock()

    async def answer(self, request):
        self.arrived.append(time.perf_counter())
        body = await request.text()
        first = len(self.arrived) == 1
        async with self.lock:  # one at a time, as a server of one replica
            await asyncio.sleep(self.stall_s if first else 0.0)
        return web.Response(status=500 if body == "bad" else 200)


def run(stall_s, load):
    """Return (what the generator measured, the moments at which requests arrived)."""

    async def serve_and_load():
        endpoint, app = Endpoint(stall_s), web.Application()
        app.router.add_post("/", endpoint.answer)
        async with TestServer(app) as server:
            taken = await load(str(server.make_url("/")))
        return taken, endpoint.arrived

    answers, arrived = asyncio.run(serve_and_load())
    return [answer.if_ok for answer in answers], arrived


def test_requests_of_the_open_loop_come_although_nobody_answers_and_their_wait_counts():
    taken, arrived = run(0.5, lambda url: opened(url, ["{}"], 100.0, 1.0))
    assert len(taken) == len(arrived) == 100
    during = [moment for moment in arrived if moment < arrived[0] + 0.45]
    assert len(during) > 20  # they did not wait for the first answer
    assert sum(seconds > 0.1 for seconds in taken) > 20  # and their wait is not hidden
    assert max(taken) > 0.45


def test_a_client_of_the_closed_loop_asks_when_it_has_its_answer():
    taken, arrived = run(0.3, lambda url: closed(url, ["{}"], 1, 0.6))
    assert max(taken) > 0.29
    assert max(later - before for before, later in pairwise(arrived)) > 0.29
    assert len(taken) == len(arrived)


def test_an_answer_that_is_not_200_is_none():
    taken, _ = run(0.0, lambda url: closed(url, ["bad", "{}"], 1, 0.2))
    assert None in taken
    assert any(seconds is not None for seconds in taken)


def test_a_connection_that_is_refused_is_an_answer_that_did_not_come():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        answers = asyncio.run(opened(f"http://127.0.0.1:{one.getsockname()[1]}/", ["{}"], 50.0, 0.2))
    assert len(answers) == 10
    assert {answer.status for answer in answers} == {NO_ANSWER}
    assert [answer.if_ok for answer in answers] == [None] * 10
