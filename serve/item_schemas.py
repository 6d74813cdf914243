"""What the endpoint takes and gives about items by themselves: search in titles, attributes to filter by."""

import unicodedata
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from serve.schemas import Id

MOST_FOUND = 100

SearchText = Annotated[str, Field(max_length=200), AfterValidator(partial(unicodedata.normalize, "NFC"))]


class ItemsQuery(BaseModel):
    """Ask for items by words of their titles or by their ids; by neither, for those that most people met."""

    model_config = ConfigDict(extra="forbid")

    search: SearchText = Field("", description="Part of a title, in any case.")
    id: list[Id] = Field(default_factory=list, max_length=MOST_FOUND, description="Ids; unknown ones are left out.")
    limit: int = Field(20, ge=1, le=MOST_FOUND, description="How many items.")


class FoundItem(BaseModel):
    """An item of the catalogue."""

    id: str
    title: str
    attributes: dict[str, list[str] | float] = Field(description="Values by category, a number by number.")


class ItemsResponse(BaseModel):
    """Items of the catalogue; titles that begin with what was searched first, then by how many people met them."""

    release: str
    items: list[FoundItem]


class Range(BaseModel):
    """The ends of a number."""

    low: float
    high: float


class AttributesResponse(BaseModel):
    """What `filters` of a request may name."""

    release: str
    categories: dict[str, dict[str, int]] = Field(description="How many items have each value; the commonest values.")
    numbers: dict[str, Range]
