"""The user tower: a causal transformer over the vectors of the user's events, with what is known of the user first.

Pre-norm blocks and a softmax loss over the catalogue, the recipe of eSASRec (arXiv 2508.06450). There is no table
of users: a new user with three clicks is a history of three.

    tokens    [prefix, event 1, ..., event S]      event = item vector + position from the end of the window + liking
    output s  the user after event s (output 0: before any event)
"""

import torch
from torch import Tensor, nn

from motet.settings import ModelSettings

LIKING_STATES = 3


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

    def forward(self, x_BSD: Tensor, mask_BSS: Tensor) -> Tensor:
        """Return [B, S, D]; `mask_BSS` is true where a token may look."""
        batch, length, dim = x_BSD.shape
        parts = self.project_in(self.attention_norm(x_BSD)).view(batch, length, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, mask_BSS.unsqueeze(1))
        mixed_BSD = self.project_out(mixed.transpose(1, 2).reshape(batch, length, dim))
        x_BSD = x_BSD + self.drop(mixed_BSD)
        return x_BSD + self.drop(self.mlp(self.mlp_norm(x_BSD)))


class UserTower(nn.Module):
    """Vectors of users from their events.

    Args:
        text_dim: width of the user's text vector.
        slots: size of the space of user category slots, padding included.
        numbers: user number columns.
        settings: the recipe's model section.
    """

    def __init__(self, text_dim: int, slots: int, numbers: int, settings: ModelSettings) -> None:
        super().__init__()
        dim = settings.dim
        self.history = settings.history
        self.text = nn.Linear(text_dim, dim, bias=False)
        self.attributes = nn.EmbeddingBag(slots, dim, mode="mean", padding_idx=0)
        self.numbers = nn.Linear(max(1, numbers), dim)
        self.positions = nn.Embedding(settings.history + 1, dim)
        self.liking = nn.Embedding(LIKING_STATES, dim)
        self.drop = nn.Dropout(settings.dropout)
        self.blocks = nn.ModuleList([Block(settings) for _ in range(settings.layers)])
        self.norm = nn.LayerNorm(dim)
        for table in (self.positions, self.liking, self.attributes):
            nn.init.normal_(table.weight, std=0.02)
        with torch.no_grad():
            self.attributes.weight[0].zero_()

    def prefix(self, text_BX: Tensor, slots_BL: Tensor, numbers_BM: Tensor) -> Tensor:
        """Return the first token [B, D]: the user's text and attributes."""
        return self.text(text_BX) + self.attributes(slots_BL) + self.numbers(numbers_BM)

    def forward(self, prefix_BD: Tensor, events_BSD: Tensor, liking_BS: Tensor, valid_BS: Tensor) -> Tensor:
        """Return [B, S + 1, D]: the user before any event, and after each.

        Args:
            prefix_BD: from `prefix`.
            events_BSD: item vectors of the events, oldest first, padded on the left.
            liking_BS: 0 disliked, 1 liked, 2 unknown.
            valid_BS: true for events, false for padding.
        """
        length = events_BSD.shape[1]
        places_S = torch.arange(length, 0, -1, device=events_BSD.device)
        events_BSD = events_BSD + self.positions(places_S) + self.liking(liking_BS)
        tokens_BSD = self.drop(torch.cat([prefix_BD.unsqueeze(1), events_BSD], 1))
        valid_BS = torch.cat([valid_BS.new_ones(len(valid_BS), 1), valid_BS], 1)
        causal_SS = torch.ones(length + 1, length + 1, dtype=torch.bool, device=events_BSD.device).tril()
        itself_SS = torch.eye(length + 1, dtype=torch.bool, device=events_BSD.device)
        mask_BSS = (causal_SS & valid_BS.unsqueeze(1)) | itself_SS
        for block in self.blocks:
            tokens_BSD = block(tokens_BSD, mask_BSS)
        return self.norm(tokens_BSD)
