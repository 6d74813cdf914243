"""What the endpoint takes and gives. Requests are strict: no unknown field, no conversion, every size bounded."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MOST_ITEMS = 500


def _clean_text(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("text must be valid Unicode without lone surrogates") from None
    return unicodedata.normalize("NFC", text)


def _clean_id(text: str) -> str:
    text = _clean_text(text).strip()
    if not text or any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("an id is 1 to 128 characters without control characters")
    return text


Id = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_clean_id)]
Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_clean_text)]
Text = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_clean_text)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Request(BaseModel):
    """Base of requests."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class RecommendRequest(Request):
    """Ask for recommendations: for a known user, for a history of items, for a text, or for anyone."""

    user_id: Id | None = Field(
        None, description="Who asks. An unknown user is answered by history, text or popularity."
    )
    history: list[Id] | None = Field(
        None, max_length=200, description="Items, oldest first; replaces the stored history."
    )
    text: Text | None = Field(None, description="What is wanted, in words.")
    surface: Name | None = Field(
        None, description="Which value function orders the items; the recipe's first by default."
    )
    k: int = Field(10, ge=1, le=MOST_ITEMS, description="How many items.")
    exclude_seen: bool | None = Field(
        None, description="Leave out what the user has met; by default unless the recipe keeps repeats."
    )
    filters: dict[Name, Text | list[Text] | list[Number]] = Field(
        default_factory=dict,
        max_length=20,
        description="Attribute to a value, to several of which one must match, or for a number to [low, high].",
    )


class ReasonModel(BaseModel):
    """Why an item is there."""

    text: str = Field(description="A sentence for people.")
    by: str = Field(description="The measure behind it: item_knn, cosine, or the source that found the item.")
    item: str | None = Field(description="The event of the user's past that the sentence speaks of.")


class RecommendedItem(BaseModel):
    """One recommended item."""

    id: str
    title: str
    value: float = Field(description="Weighted sum of the scores on this surface; items are in this order.")
    scores: dict[str, float] = Field(description="Calibrated score of every task.")
    sources: list[str] = Field(description="The sources that found the item.")
    reason: ReasonModel


class RecommendResponse(BaseModel):
    """The answer to a request."""

    request_id: str
    release: str
    surface: str
    user: str = Field(description="How the user was recognised: known, history, text, attributes or popular.")
    items: list[RecommendedItem]


class SimilarItem(BaseModel):
    """An item near another."""

    id: str
    title: str
    cosine: float


class SimilarResponse(BaseModel):
    """Items near one."""

    release: str
    item: str
    items: list[SimilarItem]


class ReleaseResponse(BaseModel):
    """What is being served."""

    release: str
    recipe: str
    created: str
    items: int
    users: int
    surfaces: dict[str, dict[str, float]]
    protocol: str
    ndcg: dict[str, float] = Field(description="NDCG of the release and of its sources in its own report.")


class Health(BaseModel):
    """The endpoint is up."""

    status: str
    release: str


class Problem(BaseModel):
    """One thing that is wrong with a request; the input is not repeated."""

    loc: list[str | int]
    msg: str
    type: str


class Problems(BaseModel):
    """Why a request was refused."""

    detail: list[Problem]
