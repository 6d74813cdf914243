"""What POST /v1/events takes and gives: one event, or a list of at most 500."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag

from motet.events.event import LARGEST_VALUE, LONGEST_KIND
from serve.schemas import Id, Request, _clean_id

MOST_EVENTS = 500
MOST_EVENT_BYTES = 524_288
"""500 events of a kilobyte each."""

Kind = Annotated[str, Field(min_length=1, max_length=LONGEST_KIND), AfterValidator(_clean_id)]
Value = Annotated[float, Field(ge=-LARGEST_VALUE, le=LARGEST_VALUE)]
Moment = Annotated[float, Field(ge=0, le=253_402_300_799)]


class EventRequest(Request):
    """One event."""

    user_id: Id = Field(description="Who did it; a user that the release does not know is one from now on.")
    item_id: Id = Field(description="With which item; one that the release does not know is kept for the next release.")
    kind: Kind | None = Field(None, description="What was done, such as click or rating.")
    value: Value | None = Field(
        None, description="How it went. Labels read it as `value`, and as a column of the kind's name."
    )
    timestamp: Moment | None = Field(None, description="When, in seconds since 1970 UTC; now by default.")
    request_id: Id | None = Field(None, description="The request_id of the answer that showed the item.")
    event_id: Id | None = Field(
        None, description="Names the event: sent again under the same id it counts once. Made up if not given."
    )


def _one_or_many(body: Any) -> str:
    return "events" if isinstance(body, list) else "event"


EventsBody = Annotated[
    Annotated[EventRequest, Tag("event")]
    | Annotated[list[EventRequest], Field(min_length=1, max_length=MOST_EVENTS), Tag("events")],
    Discriminator(_one_or_many),
]


class EventsResponse(BaseModel):
    """The events are durable."""

    event_ids: list[str] = Field(description="The ids, in the order of the request.")
    recorded: int = Field(description="How many of them are new.")
    repeated: int = Field(description="How many were known by their id already, and count once.")
    forgotten: int = Field(description="How many are left out, since their users were forgotten.")
