"""A causal transformer of pre-norm blocks."""

import torch
from torch import Tensor, nn

from motet.model.sequence.interface import SequenceModel
from motet.settings import ModelSettings

Cache = tuple[Tensor, Tensor]


def visible(valid_BP: Tensor) -> Tensor:
    """Return which token may look at which, [B, P, P]: valid ones up to itself, and itself."""
    length = valid_BP.shape[1]
    causal_PP = torch.ones(length, length, dtype=torch.bool, device=valid_BP.device).tril()
    itself_PP = torch.eye(length, dtype=torch.bool, device=valid_BP.device)
    return (causal_PP & valid_BP.unsqueeze(1)) | itself_PP


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        dim = settings.dim
        self.heads = settings.heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.project_in, self.project_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.SiLU(), nn.Linear(4 * dim, dim))
        self.drop = nn.Dropout(settings.dropout)

    def forward(self, x_BPD: Tensor, mask_BPP: Tensor) -> Tensor:
        """Return [B, P, D]; `mask_BPP` is true where a token may look."""
        query, key, value = self._parts(x_BPD)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, mask_BPP.unsqueeze(1))
        return self._finish(x_BPD, mixed)

    def step(self, x_B1D: Tensor, cache: Cache | None) -> tuple[Cache, Tensor]:
        """Return (keys and values so far, [B, 1, D]) of one more token."""
        query, key, value = self._parts(x_B1D)
        if cache is not None:
            key, value = torch.cat([cache[0], key], 2), torch.cat([cache[1], value], 2)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return (key, value), self._finish(x_B1D, mixed)

    def _parts(self, x_BPD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, _ = x_BPD.shape
        parts = self.project_in(self.attention_norm(x_BPD)).view(batch, length, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        return query, key, value

    def _finish(self, x_BPD: Tensor, mixed: Tensor) -> Tensor:
        mixed_BPD = self.project_out(mixed.transpose(1, 2).reshape(x_BPD.shape))
        x_BPD = x_BPD + self.drop(mixed_BPD)
        return x_BPD + self.drop(self.mlp(self.mlp_norm(x_BPD)))


class Transformer(SequenceModel):
    """Blocks over tokens that know their place."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.positions = nn.Embedding(settings.history + 1, settings.dim)
        self.drop = nn.Dropout(settings.dropout)
        self.blocks = nn.ModuleList([Block(settings) for _ in range(settings.layers)])
        nn.init.normal_(self.positions.weight, std=0.02)

    def forward(self, tokens_BPD: Tensor, places_BP: Tensor, seconds_BP: Tensor, valid_BP: Tensor) -> Tensor:
        """Return [B, P, D]; times are not read."""
        x_BPD = self.drop(tokens_BPD + self.positions(places_BP))
        mask_BPP = visible(valid_BP)
        for block in self.blocks:
            x_BPD = block(x_BPD, mask_BPP)
        return x_BPD

    def step(
        self, state: list[Cache] | None, token_BD: Tensor, place: int, seconds_B: Tensor
    ) -> tuple[list[Cache], Tensor]:
        """Return (keys and values by block, [B, D])."""
        x_B1D = self.drop(token_BD + self.positions.weight[place]).unsqueeze(1)
        caches: list[Cache] = []
        for number, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            cache, x_B1D = block.step(x_B1D, state[number] if state else None)
            caches.append(cache)
        return caches, x_B1D.squeeze(1)
