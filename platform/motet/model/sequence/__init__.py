"""What turns a user's tokens into states, one file a kind, behind one interface.

    transformer   pre-norm blocks, softmax attention (eSASRec, arXiv 2508.06450)
    hstu          pointwise aggregated attention with position and time bias (arXiv 2402.17152)
    gru4rec       gated recurrent units (Hidasi et al., ICLR 2016)

`forward` maps all tokens at once, `step` one more token after those that a state holds; both give the same.
"""

from motet.model.sequence.gru import GRU4Rec
from motet.model.sequence.hstu import HSTU
from motet.model.sequence.interface import SequenceModel
from motet.model.sequence.transformer import Transformer
from motet.settings import ModelSettings

__all__ = ["SEQUENCES", "SequenceModel", "build_sequence"]

SEQUENCES: dict[str, type[SequenceModel]] = {"transformer": Transformer, "hstu": HSTU, "gru4rec": GRU4Rec}


def build_sequence(settings: ModelSettings) -> SequenceModel:
    """Return the sequence model that the recipe names."""
    return SEQUENCES[settings.sequence](settings)
