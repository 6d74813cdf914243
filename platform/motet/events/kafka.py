"""The event log as a Kafka topic of one partition, for places that have a Kafka already.

Each append is one transaction with `acks=all`: it is answered when every in-sync replica has it. One process writes: a
second writer that opens the same topic takes the first one's place, whose appends fail from then on (fencing, by the
transactional id). The writer reads the topic once to know its ids. Records hold the same checksummed line as a segment.

Kafka keeps what it was given by copies on several brokers, not by a sync: give the topic three replicas and
`min.insync.replicas` 2, and no retention. A topic that is missing is made so (with one replica on a single broker); one
that forgets its records after a time is refused.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from motet.errors import EventLogError
from motet.events.address import from_environment
from motet.events.codec import Codec
from motet.events.event import EVENTS
from motet.events.ids import IdSet, append_new
from motet.events.store import START, Position

_WRITE_S, _READ_S = 10.0, 1.0
_PAGE = 2000
_KEPT = {"retention.ms": "-1", "retention.bytes": "-1"}
_log = logging.getLogger(__name__)


T = TypeVar("T")


class KafkaTopic(Generic[T]):
    """The log in a Kafka.

    Args:
        url: `kafka://host:9092,host2:9092`; `${NAME}` is taken from the environment.
        topic: its name.
        codec: of its entries.
    """

    def __init__(self, url: str, topic: str, codec: Codec[T] = EVENTS) -> None:  # type: ignore[assignment]
        self.url, self.topic, self.codec = url, topic, codec
        self._producer: Any = None
        self._consumer: Any = None
        self._ids = IdSet()
        self._reading = threading.Lock()

    def open(self) -> None:
        """Take another writer's place, and learn the ids; nothing if that was done.

        Raises:
            EventLogError: if Kafka cannot be reached, or the topic forgets.
        """
        if self._producer is not None:
            return
        from confluent_kafka import KafkaException, Producer

        try:
            self._require_topic()
            own = {"transactional.id": f"motet-{self.topic}", "transaction.timeout.ms": int(_WRITE_S * 1000)}
            producer = Producer({**self._settings(), **own})
            producer.init_transactions(_WRITE_S)
        except KafkaException as error:
            raise self._said(error) from error
        self._ids = IdSet()
        for _, entry in self.read():
            self._ids.add(self.codec.id_of(entry))
        self._producer = producer

    def append(self, entries: Sequence[T]) -> list[bool]:
        """Write the entries whose ids are new, all of them or none; see `Store.append`."""
        self.open()
        return append_new(entries, self.codec.id_of, self._ids, self._write)

    def _write(self, entries: Sequence[T]) -> None:
        from confluent_kafka import KafkaException

        try:
            self._producer.begin_transaction()
            for entry in entries:
                self._producer.produce(self.topic, self.codec.frame(entry), partition=0)
            self._producer.commit_transaction(_WRITE_S)
        except (KafkaException, BufferError) as error:
            self._give_up()
            raise self._said(error) from error

    def _give_up(self) -> None:
        """Abort what is under way; the next append opens the log anew and learns what became of it."""
        from confluent_kafka import KafkaException

        producer, self._producer = self._producer, None
        try:
            producer.abort_transaction(_WRITE_S)
        except KafkaException as error:
            _log.warning("%s: a transaction is left to time out: %s", self.topic, error.args[0].name())
        producer.purge()

    def read(self, after: Position = START) -> Iterator[tuple[Position, T]]:
        """Yield (position, entry) after a position; see `Store.read`."""
        with self._reading:
            found = self._page(after)
        while found:
            yield from ((place, entry) for place, entry in found if entry is not None)
            after = found[-1][0]
            with self._reading:
                found = self._page(after)

    def _page(self, after: Position) -> list[tuple[Position, T | None]]:
        """Return records after a position, damaged ones without their entry; none at the end of the topic."""
        from confluent_kafka import KafkaException, TopicPartition

        start = int(after) + 1 if after else 0
        try:
            consumer = self._reader()
            _, end = consumer.get_watermark_offsets(TopicPartition(self.topic, 0), timeout=_READ_S)
            if end <= start:
                return []
            consumer.assign([TopicPartition(self.topic, 0, start)])
            return self._take(consumer)
        except KafkaException as error:
            if error.args[0].code() in _no_topic():
                return []
            raise self._said(error) from error

    def _take(self, consumer: Any) -> list[tuple[Position, T | None]]:
        """Return the records from where the consumer stands, up to a page or to the end of the topic."""
        from confluent_kafka import KafkaError, KafkaException

        found: list[tuple[Position, T | None]] = []
        while len(found) < _PAGE:
            if (record := consumer.poll(_READ_S)) is None:
                raise EventLogError(f"serve.events.url: the Kafka gave no record of {self.topic} in {_READ_S:g} s")
            if (error := record.error()) is None:
                found.append((str(record.offset()), self._entry(record)))
            elif error.code() == KafkaError._PARTITION_EOF:
                break
            else:
                raise KafkaException(error)
        return found

    def _entry(self, record: Any) -> T | None:
        entry = self.codec.unframe((record.value() or b"").rstrip(b"\n"))
        if entry is None:
            _log.error("%s: record %d is damaged and skipped", self.topic, record.offset())
        return entry

    def close(self) -> None:
        """Close the connections."""
        if self._consumer is not None:
            self._consumer.close()
        self._producer = self._consumer = None

    def _reader(self) -> Any:
        if self._consumer is None:
            from confluent_kafka import Consumer

            own = {"group.id": "motet", "enable.auto.commit": False, "enable.partition.eof": True}
            own |= {"isolation.level": "read_committed", "auto.offset.reset": "error", "fetch.wait.max.ms": 10}
            self._consumer = Consumer({**self._settings(), **own})
        return self._consumer

    def _require_topic(self) -> None:
        """Make the topic if it is not there; refuse one that forgets.

        Raises:
            EventLogError: if its records go after a time.
        """
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

        admin = AdminClient(self._settings())
        about = admin.list_topics(timeout=_WRITE_S)
        if self.topic not in about.topics or about.topics[self.topic].error is not None:
            copies = min(3, len(about.brokers))
            config = {**_KEPT, "min.insync.replicas": str(max(1, copies - 1))}
            made = admin.create_topics([NewTopic(self.topic, 1, copies, config=config)], request_timeout=_WRITE_S)
            made[self.topic].result()
            return
        asked = ConfigResource(ConfigResource.Type.TOPIC, self.topic)
        (answer,) = admin.describe_configs([asked], request_timeout=_READ_S).values()
        try:
            found = answer.result()
        except KafkaException as error:  # a broker that answers for no settings, or lets this user see none
            _log.warning("%s does not say how long it keeps records (%s); see to it", self.topic, error.args[0].name())
            return
        _require_memory(self.topic, found)

    def _settings(self) -> dict[str, Any]:
        servers = from_environment(self.url).removeprefix("kafka://")
        return {"bootstrap.servers": servers, "log_level": 0, "socket.timeout.ms": int(_WRITE_S * 1000)}

    def _said(self, error: Any) -> EventLogError:
        """Return what to say of an error; addresses are not repeated."""
        first = error.args[0] if error.args else error
        name = first.name() if hasattr(first, "name") else type(error).__name__
        return EventLogError(f"serve.events.url: the Kafka does not take or give events ({name})")


def _require_memory(topic: str, found: Mapping[str, Any]) -> None:
    """Raise EventLogError if the settings of a topic let its records go after a time."""
    for name, needed in _KEPT.items():
        if found[name].value != needed:
            raise EventLogError(
                f"serve.events.url: the topic {topic} has {name} = {found[name].value}, after which events are lost; "
                f"set it to {needed}"
            )


def _no_topic() -> tuple[int, ...]:
    from confluent_kafka import KafkaError

    return (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
