"""Hierarchical sequential transduction units (Zhai et al., ICML 2024, arXiv 2402.17152).

U, V, Q, K = SiLU(W1 LN(x))
A = SiLU(Q K^T + position bias + time bias) V / length     each token's weight by itself, no softmax
y = x + W2(LN(A) * U)
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motet.model.sequence.interface import SequenceModel
from motet.model.sequence.transformer import visible
from motet.model.time import BUCKETS, time_buckets
from motet.settings import ModelSettings


@dataclass(frozen=True)
class Cache:
    """Keys and values of one unit, [B, H, P, D / H] each, over the tokens so far."""

    key: Tensor
    value: Tensor


class Unit(nn.Module):
    """One unit: attention whose weights are SiLUs, and a gate in place of a feed-forward part."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        dim = settings.dim
        self.heads, self.length = settings.heads, settings.history + 1
        self.norm, self.inner_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.project_in, self.project_out = nn.Linear(dim, 4 * dim), nn.Linear(dim, dim)
        self.position_bias = nn.Embedding(settings.history + 1, settings.heads)
        self.time_bias = nn.Embedding(BUCKETS, settings.heads)
        self.drop = nn.Dropout(settings.dropout)
        for table in (self.position_bias, self.time_bias):
            nn.init.normal_(table.weight, std=0.02)

    def forward(
        self, x_BQD: Tensor, back_BQP: Tensor, time_BQP: Tensor, mask_BQP: Tensor | None, cache: Cache | None = None
    ) -> tuple[Cache, Tensor]:
        """Return (cache, [B, Q, D]) of Q tokens that look at P: those of the cache, then themselves.

        Args:
            x_BQD: the tokens.
            back_BQP: how many places back each is.
            time_BQP: bucket of how long ago it was.
            mask_BQP: true where a token may look; None for everywhere.
            cache: of earlier tokens.
        """
        batch, queries, dim = x_BQD.shape
        gate_BQD, *rest = nn.functional.silu(self.project_in(self.norm(x_BQD))).chunk(4, -1)
        value, query, key = (part.view(batch, queries, self.heads, -1).transpose(1, 2) for part in rest)
        if cache is not None:
            key, value = torch.cat([cache.key, key], 2), torch.cat([cache.value, value], 2)
        bias = (self.position_bias(back_BQP) + self.time_bias(time_BQP)).permute(0, 3, 1, 2)
        weights = nn.functional.silu(query @ key.transpose(-1, -2) + bias) / self.length
        if mask_BQP is not None:
            weights = weights * mask_BQP.unsqueeze(1)
        mixed_BQD = (weights @ value).transpose(1, 2).reshape(batch, queries, dim)
        out_BQD = self.project_out(self.inner_norm(mixed_BQD) * gate_BQD)
        return Cache(key, value), x_BQD + self.drop(out_BQD)


@dataclass(frozen=True)
class State:
    """What a next token needs: the caches of all units, and when the tokens so far were, [B, P]."""

    caches: list[Cache]
    seconds_BP: Tensor


class HSTU(SequenceModel):
    """Units over tokens that know how far back, and how long ago, another is."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.drop = nn.Dropout(settings.dropout)
        self.units = nn.ModuleList([Unit(settings) for _ in range(settings.layers)])

    def forward(self, tokens_BPD: Tensor, places_BP: Tensor, seconds_BP: Tensor, valid_BP: Tensor) -> Tensor:
        """Return [B, P, D]."""
        x_BPD, mask_BPP = self.drop(tokens_BPD), visible(valid_BP)
        back_BPP = (places_BP.unsqueeze(2) - places_BP.unsqueeze(1)).clamp(min=0)
        time_BPP = time_buckets(seconds_BP.unsqueeze(2) - seconds_BP.unsqueeze(1))
        for unit in self.units:
            _, x_BPD = unit(x_BPD, back_BPP, time_BPP, mask_BPP)
        return x_BPD

    def step(self, state: State | None, token_BD: Tensor, place: int, seconds_B: Tensor) -> tuple[State, Tensor]:
        """Return (state, [B, D])."""
        x_B1D, seconds_BP = self.drop(token_BD).unsqueeze(1), seconds_B.unsqueeze(1)
        if state is not None:
            seconds_BP = torch.cat([state.seconds_BP, seconds_BP], 1)
        back_B1P = torch.arange(place, -1, -1, device=token_BD.device).expand(len(token_BD), 1, -1)
        time_B1P = time_buckets(seconds_B.unsqueeze(1) - seconds_BP).unsqueeze(1)
        caches: list[Cache] = []
        for number, unit in enumerate(self.units):
            cache, x_B1D = unit(x_B1D, back_B1P, time_B1P, None, state.caches[number] if state else None)
            caches.append(cache)
        return State(caches, seconds_BP), x_B1D.squeeze(1)
