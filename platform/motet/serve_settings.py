"""The section `serve` of a recipe: the online graph."""

from typing import Literal

from pydantic import Field, model_validator

from motet.canary_settings import CanarySettings
from motet.data_settings import Section
from motet.event_settings import EventSettings
from motet.guard_settings import LimitSettings
from motet.record_settings import RecordSettings


class Deployment(Section):
    """Autoscaling of one deployment."""

    min_replicas: int = Field(default=1, ge=1)
    """Fewest replicas."""
    max_replicas: int = Field(default=2, ge=1)
    """Most replicas."""
    target_ongoing_requests: float = Field(default=4.0, gt=0)
    """Requests in flight per replica that autoscaling aims at."""
    max_ongoing_requests: int = Field(default=16, ge=1)
    """Requests in flight per replica before callers queue."""
    num_cpus: float = Field(default=0.2, ge=0)
    """CPUs per replica."""

    @model_validator(mode="after")
    def _ordered(self) -> "Deployment":
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas = {self.min_replicas} is above max_replicas = {self.max_replicas}")
        return self


class GatewayDeployment(Deployment):
    """Autoscaling of the Gateway, and how much it takes in."""

    max_queued: int = Field(default=64, ge=1)
    """Requests in flight per replica above which more are refused with 429."""


class ServeSettings(Section):
    """The online graph."""

    host: str = "127.0.0.1"
    """Address that the endpoint listens on."""
    port: int = Field(default=8000, ge=1, le=65535)
    """Port that the endpoint listens on."""
    keys: Literal["none", "required"] = "none"
    """Whether every call but /healthz and the page needs a key of `motet keys add`; changed weights need one anyway."""
    limits: LimitSettings = LimitSettings()
    """How often one key and one user may ask."""
    health_check_period_s: float = Field(default=2.0, gt=0)
    """Seconds between health checks."""
    health_check_timeout_s: float = Field(default=3.0, gt=0)
    """Seconds after which a health check has failed."""
    upscale_delay_s: float = Field(default=3.0, ge=0)
    """Seconds of load before a replica is added."""
    downscale_delay_s: float = Field(default=60.0, ge=0)
    """Seconds of quiet before a replica is removed."""
    deadline_ms: float = Field(default=300.0, ge=20, le=60_000)
    """Milliseconds after which the Gateway answers with what it has, whatever a client's headers say."""
    retry_share: float = Field(default=0.1, ge=0, le=1)
    """Most extra calls to a step by retries, as a share of its calls."""
    gateway: GatewayDeployment = GatewayDeployment()
    """HTTP ingress."""
    embedder: Deployment = Deployment()
    """User tower and language model."""
    retriever: Deployment = Deployment()
    """FAISS and collaborative filtering."""
    reranker: Deployment = Deployment()
    """Task heads."""
    events: EventSettings = EventSettings()
    """The log of what users do."""
    watch_s: float = Field(default=0.5, gt=0, le=60)
    """Seconds between looks at the pointers to the current release and its candidate."""
    canary: CanarySettings = CanarySettings()
    """A candidate release, tried on some users."""
    recall_share: float = Field(default=0.01, ge=0, le=1)
    """Share of the searches that are repeated exactly, in the background, to know the recall of the index."""
    records: RecordSettings = RecordSettings()
    """The log of what they were shown."""

    @model_validator(mode="after")
    def _limits_fit_keys(self) -> "ServeSettings":
        if self.limits.per_key_s and self.keys != "required":
            raise ValueError(
                f"limits.per_key_s = {self.limits.per_key_s:g} limits keys, and keys = {self.keys} asks for none; "
                "set keys to required"
            )
        return self
