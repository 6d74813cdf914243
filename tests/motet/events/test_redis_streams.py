"""What only the log in Redis does: a server that could lose events is refused."""

import signal
import time
from pathlib import Path

import pytest

from motet.errors import EventLogError
from motet.events.event import frame
from motet.events.redis_streams import RedisStream
from tests.motet.events.makers import HAS_REDIS, RedisServer, event, ids

pytestmark = pytest.mark.skipif(not HAS_REDIS, reason="there is no redis-server; apt-get install redis-server")
KEY = "motet:{test}:events"


@pytest.fixture
def server(tmp_path: Path):
    made = RedisServer(tmp_path)
    made.start()
    yield made
    assert made.process is not None
    if made.process.poll() is None:
        made.kill(signal.SIGTERM)


@pytest.fixture
def store(server: RedisServer):
    made = RedisStream(server.url, KEY)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("name", "value", "mended"), [("appendfsync", "everysec", "always"), ("appendonly", "no", "yes")]
)
def test_a_server_that_answers_before_it_syncs_is_refused(store: RedisStream, name, value, mended) -> None:
    store._client(5.0).config_set(name, value)
    with pytest.raises(EventLogError, match=f"the Redis has {name} = {value}, .*; set {name} {mended}"):
        store.append([event(1)])
    assert ids(store) == []


def test_a_server_that_is_gone_acknowledges_nothing_until_it_is_back(store: RedisStream, server: RedisServer) -> None:
    store.append([event(1)])
    server.kill()
    with pytest.raises(EventLogError, match=r"serve\.events\.url: the Redis does not answer"):
        store.append([event(2)])
    server.start()
    assert store.append([event(2), event(1)]) == [True, False]
    assert ids(store) == ["e1", "e2"]


def test_a_server_that_hangs_holds_up_no_reader_for_long(store: RedisStream, server: RedisServer) -> None:
    store.append([event(1)])
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(EventLogError, match=r"does not answer \(TimeoutError\)"):
        ids(store)
    assert time.monotonic() - began < 2
    server.process.send_signal(signal.SIGCONT)
    assert ids(store) == ["e1"]


def test_a_damaged_entry_is_skipped(store: RedisStream, caplog: pytest.LogCaptureFixture) -> None:
    store.append([event(1)])
    store._client(5.0).xadd(KEY, {"line": frame(event(2)).decode().replace("i2", "i3")})
    store._client(5.0).xadd(KEY, {"other": "x"})
    store.append([event(4)])
    assert ids(store) == ["e1", "e4"]
    assert caplog.text.count("is damaged and skipped") == 2


def test_a_password_comes_from_the_environment_and_is_never_said(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"redis://:${{MOTET_TEST_SECRET}}@127.0.0.1:{server.port}/0"
    with pytest.raises(EventLogError, match="MOTET_TEST_SECRET is not set in the environment"):
        RedisStream(url, KEY).append([event(1)])
    plain = RedisStream(server.url, KEY)
    plain._client(5.0).config_set("requirepass", "s3cret")
    plain.close()
    monkeypatch.setenv("MOTET_TEST_SECRET", "wr0ng")
    wrong = RedisStream(url, KEY)
    with pytest.raises(EventLogError, match="does not answer") as caught:
        wrong.append([event(1)])
    assert "wr0ng" not in str(caught.value)
    wrong.close()
    monkeypatch.setenv("MOTET_TEST_SECRET", "s3cret")
    right = RedisStream(url, KEY)
    assert right.append([event(1)]) == [True]
    right.close()
