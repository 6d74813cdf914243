"""The section `serve.events` of a recipe: where events are written and how soon they are acknowledged."""

from typing import Literal

from pydantic import Field, model_validator

from motet.data_settings import Section


class EventSettings(Section):
    """The event log behind POST /v1/events."""

    store: Literal["segments", "redis", "kafka", "none"] = "segments"
    """Files in the workspace, a Redis stream (pip install motet[redis]), a Kafka topic (motet[kafka]), or no events."""
    path: str | None = Field(default=None, min_length=1)
    """Folder of the segments, which all nodes see; `events` in the workspace if not set."""
    url: str | None = Field(default=None, pattern=r"^(redis|rediss|unix|kafka)://")
    """Address of the Redis, as redis://host:6379/0, or the Kafka, as kafka://host:9092,host2:9092; `${NAME}` is read
    from the environment of the process that connects, so that no password stands in a release."""
    fsync_ms: float = Field(default=0.0, ge=0, le=1000)
    """Milliseconds that the first event of a group waits for others before they are written and synced together; what
    comes in during a sync waits for the next one anyway."""
    segment_mb: int = Field(default=64, ge=1, le=4096)
    """Size in MB at which a new segment begins."""

    @model_validator(mode="after")
    def _place_fits_store(self) -> "EventSettings":
        example = {"redis": "redis://127.0.0.1:6379/0", "kafka": "kafka://127.0.0.1:9092"}.get(self.store)
        if example and self.url is None:
            raise ValueError(f"store = {self.store} has no url; set it, as {example}")
        if self.url is not None and self.url.startswith("kafka:") != (self.store == "kafka"):
            raise ValueError(f"url = {self.url.partition(':')[0]}:... is not one of store = {self.store}")
        for name, kinds in (("url", ("redis", "kafka")), ("path", ("segments",))):
            if self.store not in kinds and getattr(self, name) is not None:
                raise ValueError(f"{name} is for store = {' or '.join(kinds)}, not {self.store}; leave it out")
        if self.store != "segments" and self.segment_mb != type(self).model_fields["segment_mb"].default:
            raise ValueError(f"segment_mb is for store = segments, not {self.store}; leave it out")
        return self
