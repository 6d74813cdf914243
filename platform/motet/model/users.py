"""The user tower: what the user met, how it went and when, to one vector after each event.

There is no table of users: a new user with three clicks is a history of three.

    tokens    [prefix, event 1, ..., event S]      event = item vector + labels and signals + gap to the event before
    output s  the user after event s (output 0: before any event) + gap to the moment of asking

The labels of event s are in token s, so outputs from s on read them: its own prediction, output s - 1, does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from motet.kinds import LabelScale
from motet.model.sequence import SequenceModel, build_sequence
from motet.model.time import BUCKETS, time_buckets
from motet.settings import ModelSettings


@dataclass(frozen=True)
class Events:
    """Histories as the tower reads them, oldest event first, padded on the left."""

    items_BSD: Tensor
    """Item vectors."""
    labels_BST: Tensor
    """The label of each scored task, then the value of each signal; NaN is unknown."""
    gaps_BS: Tensor
    """Seconds since the event before; NaN is unknown."""
    valid_BS: Tensor
    """True for events, false for padding."""
    away_BP: Tensor | None = None
    """Seconds from each output's last event to the moment it is asked for; NaN, or None for all, is unknown."""


@dataclass(frozen=True)
class Memory:
    """What `extend` needs of the events so far: the state after them, and they themselves for a full window."""

    prefix_BD: Tensor
    events: Events
    state: Any
    seconds_B: Tensor


class UserTower(nn.Module):
    """Vectors of users from their events.

    Args:
        text_dim: width of the user's text vector.
        slots: size of the space of user category slots, padding included.
        numbers: user number columns.
        scales: of the scored tasks' labels, then of the signals.
        settings: the recipe's model section.
    """

    centre_T: Tensor
    spread_T: Tensor
    low_T: Tensor
    high_T: Tensor

    def __init__(
        self, text_dim: int, slots: int, numbers: int, scales: Sequence[LabelScale], settings: ModelSettings
    ) -> None:
        super().__init__()
        dim = settings.dim
        self.history = settings.history
        self.text = nn.Linear(text_dim, dim, bias=False)
        self.attributes = nn.EmbeddingBag(slots, dim, mode="mean", padding_idx=0)
        self.numbers = nn.Linear(max(1, numbers), dim)
        self.labels = nn.Linear(2 * len(scales), dim, bias=False) if scales else None
        self.gaps = nn.Embedding(BUCKETS, dim) if settings.time_signal else None
        self.away = nn.Embedding(BUCKETS, dim) if settings.time_signal else None
        self.away_dropout = settings.dropout
        self.sequence: SequenceModel = build_sequence(settings)
        self.norm = nn.LayerNorm(dim)
        for buffer, name in (("centre_T", "mean"), ("spread_T", "std"), ("low_T", "low"), ("high_T", "high")):
            values = torch.tensor([float(getattr(one, name)) for one in scales])
            self.register_buffer(buffer, values, persistent=False)
        nn.init.normal_(self.attributes.weight, std=0.02)
        if self.gaps is not None:
            nn.init.normal_(self.gaps.weight, std=0.02)
        if self.away is not None:
            nn.init.zeros_(self.away.weight)
        with torch.no_grad():
            self.attributes.weight[0].zero_()

    def prefix(self, text_BX: Tensor, slots_BL: Tensor, numbers_BM: Tensor) -> Tensor:
        """Return the first token [B, D]: the user's text and attributes."""
        return self.text(text_BX) + self.attributes(slots_BL) + self.numbers(numbers_BM)

    def forward(self, prefix_BD: Tensor, events: Events) -> Tensor:
        """Return [B, S + 1, D]: the user before any event, and after each."""
        tokens_BPD = torch.cat([prefix_BD.unsqueeze(1), self._tokens(events)], 1)
        valid_BP = torch.cat([events.valid_BS.new_ones(len(prefix_BD), 1), events.valid_BS], 1)
        places_BP = (valid_BP.cumsum(1) - 1).clamp(min=0)
        seconds_BP = torch.where(places_BP[:, 1:] > 1, events.gaps_BS.double().nan_to_num(0.0), 0.0) * events.valid_BS
        seconds_BP = torch.cat([seconds_BP.new_zeros(len(prefix_BD), 1), seconds_BP.cumsum(1)], 1)
        return self._outputs(self.sequence(tokens_BPD, places_BP, seconds_BP, valid_BP), events.away_BP)

    def begin(self, prefix_BD: Tensor, events: Events) -> tuple[Memory, Tensor]:
        """Return (memory, user [B, D]) after events without padding; there may be none of them."""
        empty = Events(*(value[:, :0] for value in _parts(events)))
        seconds_B = torch.zeros(len(prefix_BD), dtype=torch.float64, device=prefix_BD.device)
        state, out_BD = self.sequence.step(None, prefix_BD, 0, seconds_B)
        memory, user_BD = Memory(prefix_BD, empty, state, seconds_B), self._outputs(out_BD, None)
        for place in range(events.items_BSD.shape[1]):
            memory, user_BD = self.extend(memory, Events(*(value[:, place : place + 1] for value in _parts(events))))
        return memory, user_BD

    def extend(self, memory: Memory, event: Events) -> tuple[Memory, Tensor]:
        """Return (memory, user [B, D]) after one more event, as the full pass does.

        A window that is full drops its oldest event, and all that came after is computed again.

        Args:
            memory: from `begin` or `extend`.
            event: of length 1; its `away_BP`, [B, 1], is of the output after it.
        """
        joined = [torch.cat(both, 1) for both in zip(_parts(memory.events), _parts(event), strict=True)]
        if joined[0].shape[1] > self.history:
            latest = Events(*(value[:, 1:-1] for value in joined))
            return self.extend(self.begin(memory.prefix_BD, latest)[0], event)
        place = joined[0].shape[1]
        gap_B = event.gaps_BS[:, 0].double().nan_to_num(0.0) if place > 1 else torch.zeros_like(memory.seconds_B)
        seconds_B = memory.seconds_B + gap_B
        state, out_BD = self.sequence.step(memory.state, self._tokens(event)[:, 0], place, seconds_B)
        away_B = None if event.away_BP is None else event.away_BP[:, 0]
        return Memory(memory.prefix_BD, Events(*joined), state, seconds_B), self._outputs(out_BD, away_B)

    def _tokens(self, events: Events) -> Tensor:
        tokens_BSD = events.items_BSD
        if self.labels is not None:
            known_BST = ~events.labels_BST.isnan()
            labels_BST = torch.clamp(events.labels_BST, self.low_T, self.high_T)  # what training never saw says no more
            standard_BST = torch.where(known_BST, (labels_BST - self.centre_T) / self.spread_T, 0.0)
            tokens_BSD = tokens_BSD + self.labels(torch.cat([standard_BST, known_BST.to(standard_BST.dtype)], -1))
        if self.gaps is not None:
            tokens_BSD = tokens_BSD + self.gaps(time_buckets(events.gaps_BS))
        return tokens_BSD

    def _outputs(self, states: Tensor, away: Tensor | None) -> Tensor:
        """Return normalised states, and what the time until they are asked for adds; in training some is hidden."""
        states = self.norm(states)
        if self.away is None:
            return states
        buckets = torch.zeros(states.shape[:-1], dtype=torch.long, device=states.device)
        if away is not None:
            buckets = time_buckets(away)
            if self.training and self.away_dropout:
                buckets = buckets * (torch.rand(buckets.shape, device=buckets.device) >= self.away_dropout)
        return states + self.away(buckets)


def _parts(events: Events) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return events.items_BSD, events.labels_BST, events.gaps_BS, events.valid_BS
