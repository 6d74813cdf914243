"""What only the log in Kafka does: records between transactions, a topic that forgets."""

import time
from types import SimpleNamespace

import pytest

from motet.errors import EventLogError
from motet.events.event import frame
from motet.events.kafka import KafkaTopic, _require_memory
from tests.motet.events.makers import KafkaBroker, event, ids

TOPIC = "motet.test.events"


@pytest.fixture
def broker():
    made = KafkaBroker()
    yield made
    made.kill()


def test_a_second_writer_knows_what_the_first_wrote(broker: KafkaBroker) -> None:
    """That the first one is fenced off then is Kafka's own doing, which this broker does not imitate."""
    first, second = KafkaTopic(broker.url, TOPIC), KafkaTopic(broker.url, TOPIC)
    assert first.append([event(1)]) == [True]
    assert second.append([event(1), event(2)]) == [False, True]
    assert ids(first) == ids(second) == ["e1", "e2"]


def test_a_damaged_record_is_skipped(broker: KafkaBroker, caplog: pytest.LogCaptureFixture) -> None:
    from confluent_kafka import Producer

    store = KafkaTopic(broker.url, TOPIC)
    store.append([event(1)])
    producer = Producer({"bootstrap.servers": broker.url.removeprefix("kafka://")})
    producer.produce(TOPIC, frame(event(2)).replace(b"i2", b"i3"), partition=0)
    assert producer.flush(10) == 0
    assert ids(store) == ["e1"]
    store.append([event(4)])
    assert ids(store) == ["e1", "e4"]
    assert "record 2 is damaged and skipped" in caplog.text


@pytest.mark.slow
def test_a_broker_that_is_gone_acknowledges_nothing(broker: KafkaBroker) -> None:
    store = KafkaTopic(broker.url, TOPIC)
    store.append([event(1)])
    broker.kill()
    began = time.monotonic()
    with pytest.raises(EventLogError, match=r"serve\.events\.url: the Kafka does not take or give events \(_"):
        store.append([event(2)])
    assert time.monotonic() - began < 40
    with pytest.raises(EventLogError):
        ids(KafkaTopic(broker.url, TOPIC))


def test_a_topic_that_forgets_is_refused() -> None:
    kept = {"retention.ms": SimpleNamespace(value="-1"), "retention.bytes": SimpleNamespace(value="-1")}
    _require_memory(TOPIC, kept)
    with pytest.raises(
        EventLogError, match=r"has retention\.ms = 604800000, after which events are lost; set it to -1"
    ):
        _require_memory(TOPIC, {**kept, "retention.ms": SimpleNamespace(value="604800000")})


def test_a_password_that_is_not_set_is_said_by_its_name() -> None:
    with pytest.raises(EventLogError, match="KAFKA_OF_NOBODY is not set in the environment"):
        KafkaTopic("kafka://${KAFKA_OF_NOBODY}:9092", TOPIC).append([event(1)])
