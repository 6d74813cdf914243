"""Which log the settings name, and which settings fit it."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from motet.event_settings import EventSettings
from motet.events.kafka import KafkaTopic
from motet.events.redis_streams import RedisStream
from motet.events.segments import Segments
from motet.events.store import open_store


def test_segments_lie_in_the_workspace_or_where_the_recipe_says() -> None:
    default = open_store(EventSettings(), Path("w/events"), "shop")
    assert isinstance(default, Segments)
    assert (default.folder, default.segment_bytes) == (Path("w/events"), 64 << 20)
    other = open_store(EventSettings(path="/data/log", segment_mb=2), Path("w/events"), "shop")
    assert isinstance(other, Segments)
    assert (other.folder, other.segment_bytes) == (Path("/data/log"), 2 << 20)


def test_a_stream_bears_the_recipes_name_and_none_is_none() -> None:
    stream = open_store(EventSettings(store="redis", url="redis://h:1/0"), Path("w"), "shop")
    assert isinstance(stream, RedisStream)
    assert (stream.url, stream.key) == ("redis://h:1/0", "motet:{shop}:events")
    topic = open_store(EventSettings(store="kafka", url="kafka://h:1"), Path("w"), "shop")
    assert isinstance(topic, KafkaTopic)
    assert (topic.url, topic.topic) == ("kafka://h:1", "motet.shop.events")
    assert open_store(EventSettings(store="none"), Path("w"), "shop") is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"store": "pulsar"}, "'segments', 'redis', 'kafka' or 'none'"),
        ({"store": "kafka"}, "store = kafka has no url; set it, as kafka://"),
        ({"store": "kafka", "url": "redis://h"}, "is not one of store = kafka"),
        ({"store": "redis", "url": "kafka://h"}, "is not one of store = redis"),
        ({"store": "redis"}, "store = redis has no url; set it"),
        ({"url": "redis://h"}, "url is for store = redis or kafka, not segments; leave it out"),
        ({"store": "redis", "url": "http://h"}, "should match pattern"),
        ({"store": "redis", "url": "redis://h", "path": "x"}, "path is for store = segments, not redis"),
        ({"store": "none", "path": "x"}, "path is for store = segments, not none"),
        ({"store": "none", "segment_mb": 2}, "segment_mb is for store = segments, not none"),
        ({"fsync_ms": -1}, "greater than or equal to 0"),
        ({"fsync_ms": 2000}, "less than or equal to 1000"),
        ({"segment_mb": 0}, "greater than or equal to 1"),
        ({"path": ""}, "at least 1 character"),
    ],
)
def test_settings_that_do_nothing_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EventSettings.model_validate(values)
