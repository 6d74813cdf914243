"""What the endpoint says of how a list came about, and of why an item is not in it."""

from pydantic import BaseModel, Field


class StageModel(BaseModel):
    """What a stage kept and removed."""

    stage: str = Field(description="filters, sources, fusion or ranking.")
    kept: int = Field(description="Items that went on.")
    removed: dict[str, int] = Field(description="Items that stayed behind, by reason.")
    listed: dict[str, int] = Field(default_factory=dict, description="Items that each source listed; in several lists.")


class TracedItem(BaseModel):
    """One candidate; they stand in fused order."""

    item: str
    sources: dict[str, float] = Field(description="Score of each source that listed it.")
    fused: float = Field(description="Log-probability of being next, among the candidates.")
    raw: dict[str, float] = Field(description="Scores before calibration.")
    scores: dict[str, float] = Field(description="Calibrated scores.")
    contributions: dict[str, float] = Field(description="Weight times calibrated score.")
    value: float = Field(description="Sum of the contributions.")
    rank: int = Field(description="Place from 1 in the order of values.")
    place: int | None = Field(description="Place from 1 in the list; null if it is not in it.")
    because: str | None = Field(description="What kept it out of the list: value, diversity, a cap, or exploration.")


class Trace(BaseModel):
    """How a list came about."""

    stages: list[StageModel]
    candidates: list[TracedItem] = Field(description="What was ranked; empty below level full.")


class ExplainResponse(BaseModel):
    """How far an item came on the way into a user's list."""

    release: str
    item: str
    stage: str = Field(description="What stopped it: unknown, filters, sources, fusion or ranking; or shown.")
    because: str = Field(description="A sentence for people.")
    rule: str | None = Field(description="The rule of filters or ranking that stopped it.")
    rank: int | None = Field(description="Its rank from 1 at that stage.")
    of: int | None = Field(description="How many ranks go on from there.")
