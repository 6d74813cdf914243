"""Group commit: one sync for all that wait."""

import asyncio
from pathlib import Path

import pytest

from motet.errors import EventLogError
from motet.events.commit import GroupCommit
from motet.events.segments import Segments
from tests.motet.events.makers import event, ids


@pytest.fixture
def store(tmp_path: Path):
    made = Segments(tmp_path / "events")
    yield made
    made.close()


def test_requests_at_the_same_time_share_a_sync(store: Segments) -> None:
    commit = GroupCommit(store)

    async def run() -> list[list[bool]]:
        return await asyncio.gather(*(commit.append([event(n), event(n + 1000)]) for n in range(200)))

    assert asyncio.run(run()) == [[True, True]] * 200
    assert commit.groups <= 2
    assert len(ids(store)) == 400


def test_each_request_learns_of_its_own_repeats(store: Segments) -> None:
    commit = GroupCommit(store)

    async def run() -> list[list[bool]]:
        found = await asyncio.gather(commit.append([event(1), event(2)]), commit.append([event(2), event(3)]))
        return [*found, await commit.append([event(3)])]

    assert asyncio.run(run()) == [[True, True], [False, True], [False]]


@pytest.mark.parametrize(("wait_ms", "groups"), [(0, 2), (300, 1)])
def test_fsync_ms_lets_a_group_gather(store: Segments, wait_ms: float, groups: int) -> None:
    commit = GroupCommit(store, wait_ms)

    async def run() -> None:
        first = asyncio.create_task(commit.append([event(1)]))
        await asyncio.sleep(0.1)
        await asyncio.gather(first, commit.append([event(2)]))

    store.open()
    asyncio.run(run())
    assert commit.groups == groups


def test_a_group_fails_as_one_and_the_next_one_is_tried(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Segments(tmp_path / "file" / "events")
    commit = GroupCommit(store)

    async def run() -> None:
        failed = await asyncio.gather(*(commit.append([event(n)]) for n in range(3)), return_exceptions=True)
        assert [type(one) for one in failed] == [EventLogError] * 3
        (tmp_path / "file").unlink()
        assert await commit.append([event(1)]) == [True]

    asyncio.run(run())
    store.close()


def test_who_asked_may_be_gone(store: Segments) -> None:
    commit = GroupCommit(store)

    async def run() -> None:
        gone, here = asyncio.create_task(commit.append([event(1)])), asyncio.create_task(commit.append([event(2)]))
        await asyncio.sleep(0)
        gone.cancel()
        assert await here == [True]
        assert await commit.append([event(1)]) == [False]  # it was written all the same

    asyncio.run(run())
