"""What the endpoint takes and gives about items by themselves: search in titles, attributes to filter by."""

import unicodedata
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from serve.schemas import Id, Name, Number, Request, _clean_text

MOST_FOUND = 100
MOST_NEW, MOST_NEW_BYTES = 100, 1_048_576

SearchText = Annotated[str, Field(max_length=200), AfterValidator(partial(unicodedata.normalize, "NFC"))]


def _plain_text(text: str) -> str:
    text = _clean_text(text)
    if any(unicodedata.category(character) == "Cc" and character not in "\t\n" for character in text):
        raise ValueError("a text has no control characters but tabs and line feeds")
    return text


Content = Annotated[str, Field(min_length=1, max_length=10_000), AfterValidator(_plain_text)]
Values = Annotated[list[Content], Field(max_length=200)]


class NewItem(Request):
    """An item to add, or to put in the place of the one with its id."""

    id: Id = Field(description="The item's id; events and requests name it so from now on.")
    text: Content | None = Field(None, description="The recipe's first text column of items, such as the title.")
    attributes: dict[Name, Content | Number | Values] = Field(
        default_factory=dict,
        max_length=100,
        description="The other columns of the recipe's items: texts, categories (one or several values), numbers.",
    )


def _one_or_many(body: Any) -> str:
    return "items" if isinstance(body, list) else "item"


NewItemsBody = Annotated[
    Annotated[NewItem, Tag("item")] | Annotated[list[NewItem], Field(min_length=1, max_length=MOST_NEW), Tag("items")],
    Discriminator(_one_or_many),
]


class ItemsAdded(BaseModel):
    """The items are durable, and known to the next answer."""

    ids: list[str] = Field(description="The ids, in the order of the request.")
    added: int = Field(description="How many were not in the catalogue before.")
    replaced: int = Field(description="How many were, and have a new content.")


class ItemRemoved(BaseModel):
    """The item is in no answer from now on."""

    id: str


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
