"""What the endpoint takes and gives. Requests are strict: no unknown field, no conversion, every size bounded."""

import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from motet.surface_settings import Rule
from serve.trace_schemas import Trace

MOST_ITEMS, MOST_LISTED = 500, 1_000


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


class RuleModel(Request):
    """What an attribute must be like: of a category `any_of`, `none_of`; of a number `min`, `max`."""

    any_of: list[Text] | None = Field(None, min_length=1, max_length=200, description="One of these values.")
    none_of: list[Text] = Field(default_factory=list, max_length=200, description="None of these values.")
    min: Number | None = Field(None, description="Smallest number.")
    max: Number | None = Field(None, description="Largest number.")

    @model_validator(mode="after")
    def _is_a_rule(self) -> "RuleModel":
        try:
            Rule.model_validate(self.model_dump())
        except ValidationError:
            raise ValueError(
                "a rule asks for any_of or none_of of a category, or for min or max of a number, min not above max"
            ) from None
        return self


class RecommendRequest(Request):
    """Ask for recommendations: for a known user, for a history of items, for a text, or for anyone."""

    user_id: Id | None = Field(
        None, description="Who asks. An unknown user is answered by history, text or popularity."
    )
    history: list[Id] | None = Field(
        None, max_length=200, description="Items, oldest first; replaces the stored history."
    )
    text: Text | None = Field(None, description="What is wanted, in words.")
    attributes: dict[Name, Text | Number | list[Text]] | None = Field(
        None,
        min_length=1,
        max_length=50,
        description="What is known of who asks, by column of the recipe's users; in place of what is stored.",
    )
    surface: Name | None = Field(
        None, description="Which value function orders the items; the recipe's first by default."
    )
    k: int = Field(10, ge=1, le=MOST_ITEMS, description="How many items.")
    exclude_seen: bool | None = Field(
        None, description="Leave out what the user has met; by default unless the recipe keeps repeats."
    )
    filters: dict[Name, Text | list[Text] | list[Number] | RuleModel] = Field(
        default_factory=dict,
        max_length=20,
        description="Attribute to a value, several of which one must match, [low, high] of a number, or a rule.",
    )
    allow: list[Id] | None = Field(
        None, min_length=1, max_length=MOST_LISTED, description="The only items that may be shown."
    )
    deny: list[Id] = Field(default_factory=list, max_length=MOST_LISTED, description="Items that must not be shown.")
    weights: dict[Name, Number] | None = Field(
        None,
        min_length=1,
        max_length=50,
        description="Weight of each score in place of the surface's, to try them out.",
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
    value: float = Field(
        description="Weighted sum of the scores on this surface; items are in this order, but for diversity, caps "
        "and what was drawn to explore. At level retrieval the chance of being next, at level popular the popularity."
    )
    scores: dict[str, float] = Field(description="Calibrated score of every task; at lower levels what is known.")
    sources: list[str] = Field(description="The sources that found the item, and explore if it was drawn.")
    reason: ReasonModel


class Fallback(BaseModel):
    """Why an answer is below full."""

    step: str = Field(description="The step that gave no answer: embedder, retriever or reranker.")
    because: str = Field(description="late or down.")


class Underfilled(BaseModel):
    """Why an answer has fewer items than asked."""

    wanted: int
    found: int
    because: str


class RecommendResponse(BaseModel):
    """The answer to a request."""

    request_id: str
    release: str
    surface: str
    user: str = Field(description="How the user was recognised: known, history, text, attributes or popular.")
    level: Literal["full", "retrieval", "popular"] = Field(description="How much of the graph answered in time.")
    fallback: Fallback | None = Field(description="Why the level is not full; null if it is.")
    underfilled: Underfilled | None = Field(description="Why there are fewer than k items; null if there are k.")
    items: list[RecommendedItem]
    trace: Trace | None = Field(description="How the list came about, if it was asked for.")


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


class OutcomesModel(BaseModel):
    """What came of the answers of a release."""

    answers: int
    failures: float = Field(description="Share of the requests that failed or fell back.")
    p50_ms: float | None = Field(description="Half of the answers came within so many milliseconds.")
    p95_ms: float | None = Field(description="95 % of the answers did.")


class CanaryModel(BaseModel):
    """A release that is tried on some users, beside the current one since it came."""

    release: str
    share: float = Field(description="Share of the users who get it.")
    outcomes: OutcomesModel
    current: OutcomesModel


class RecallModel(BaseModel):
    """What the index finds of the exact best, by a sample of live searches."""

    searches: int
    recall: float | None


class SurfaceRequest(Request):
    """Change the weights of a surface while it is served."""

    weights: dict[Name, Number] | None = Field(
        min_length=1, max_length=50, description="Weight of each score; null gives back the recipe's."
    )


class SurfaceResponse(BaseModel):
    """The weights of a surface from now on."""

    surface: str
    weights: dict[str, float]
    changed: bool = Field(description="Whether they are other than the recipe's.")


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
    example_users: list[str] = Field(description="A few users to try: those of the golden requests.")
    canary: CanaryModel | None = Field(description="A release that is tried on some users.")
    refused: dict[str, str] = Field(description="Why a release is not served, though it was published or tried out.")
    recall: RecallModel | None = Field(description="What the index finds; null until it is known.")


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
