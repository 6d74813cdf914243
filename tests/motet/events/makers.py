"""Events, and the two stores over a folder or a Redis of their own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from motet.events.event import Event
from motet.events.kafka import KafkaTopic
from motet.events.redis_streams import RedisStream
from motet.events.segments import Segments
from motet.events.store import START, EventStore


def event(number: int, **changes: Any) -> Event:
    values = {"event_id": f"e{number}", "user": "u1", "item": f"i{number}", "timestamp_ms": 1_700_000_000_000 + number}
    return Event(**{**values, **changes})


def ids(store: EventStore, after: str = START) -> list[str]:
    return [one.event_id for _, one in store.read(after)]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class RedisServer:
    """A redis-server of one's own that syncs before it answers."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("redis-server does not listen")

    def kill(self, how: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(20)


class SegmentsMaker:
    """Makes logs over one folder; `crash` is what a kill -9 of the writer leaves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "events"
        self.made: list[Segments] = []

    def __call__(self) -> Segments:
        self.made.append(Segments(self.folder, 1 << 20))
        return self.made[-1]

    def crash(self) -> None:
        self.end()

    def end(self) -> None:
        for one in self.made:
            one.close()


class RedisMaker:
    """Makes logs over one key of one server; `crash` kills the server and starts it again."""

    def __init__(self, folder: Path) -> None:
        self.server = RedisServer(folder)
        self.server.start()
        self.made: list[RedisStream] = []

    def __call__(self) -> RedisStream:
        self.made.append(RedisStream(self.server.url, "motet:{test}:events"))
        return self.made[-1]

    def crash(self) -> None:
        self.server.kill()
        self.server.start()

    def end(self) -> None:
        for one in self.made:
            one.close()
        self.server.kill(signal.SIGTERM)


class KafkaBroker:
    """librdkafka's own test broker in a process of its own, reached over the wire; it keeps records while it lives."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", BROKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.url = f"kafka://{self.process.stdout.readline().decode().strip()}"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


BROKER = """
import sys
from confluent_kafka import Producer
broker = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0})
about = broker.list_topics("motet.test.events", timeout=20)
one = next(iter(about.brokers.values()))
print(f"{one.host}:{one.port}", flush=True)
sys.stdin.read()
"""


class KafkaMaker:
    """Makes logs over one topic of one broker; `crash` leaves a writer where it is, as a kill -9 does."""

    def __init__(self, folder: Path) -> None:
        del folder
        self.broker = KafkaBroker()
        self.made: list[KafkaTopic] = []

    def __call__(self) -> KafkaTopic:
        self.made.append(KafkaTopic(self.broker.url, "motet.test.events"))
        return self.made[-1]

    def crash(self) -> None:
        """Nothing: the broker lives, and the next writer takes the place of the last one."""

    def end(self) -> None:
        for one in self.made:
            one.close()
        self.broker.kill()


MAKERS = {"segments": SegmentsMaker, "redis": RedisMaker, "kafka": KafkaMaker}
HAS_REDIS = shutil.which("redis-server") is not None
HERE = Path(__file__).resolve().parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE.parents[2] / "platform")}
