"""Gated recurrent units over the tokens (GRU4Rec, Hidasi et al., ICLR 2016); time and place are in their order."""

import torch
from torch import Tensor, nn

from motet.model.sequence.interface import SequenceModel
from motet.settings import ModelSettings


class GRU4Rec(SequenceModel):
    """A stack of GRUs, added to its input."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        between = settings.dropout if settings.layers > 1 else 0.0
        self.drop = nn.Dropout(settings.dropout)
        self.gru = nn.GRU(settings.dim, settings.dim, settings.layers, batch_first=True, dropout=between)

    def forward(self, tokens_BPD: Tensor, places_BP: Tensor, seconds_BP: Tensor, valid_BP: Tensor) -> Tensor:
        """Return [B, P, D].

        The valid tokens are moved to the front, so that the padding comes last and changes no state.
        """
        order_BP = torch.argsort((~valid_BP).to(torch.int8), dim=1, stable=True)
        x_BPD = self.drop(tokens_BPD)
        index_BPD = order_BP.unsqueeze(-1).expand_as(x_BPD)
        states_BPD, _ = self.gru(x_BPD.gather(1, index_BPD))
        return x_BPD + torch.empty_like(states_BPD).scatter(1, index_BPD, states_BPD)

    def step(self, state: Tensor | None, token_BD: Tensor, place: int, seconds_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return (hidden states of all layers, [B, D])."""
        x_BD = self.drop(token_BD)
        out_B1D, hidden = self.gru(x_BD.unsqueeze(1), state)
        return hidden, x_BD + out_B1D.squeeze(1)
