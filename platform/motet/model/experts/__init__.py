"""Task layers: from one input, or one per task, to one vector per task.

    shared_bottom   one network for all tasks (the honest baseline)
    mmoe            multi-gate mixture of experts (Ma et al., KDD 2018)
    ple             progressive layered extraction (Tang et al., RecSys 2020)

All take [N, F], or [N, T, F] if each task has an input of its own, and return [N, T, D]. Expert outputs are
layer-normalised and use SiLU, which keeps experts from collapsing into one (HoME, arXiv 2408.05430).
"""

from torch import nn

from motet.model.experts.mmoe import MMoE
from motet.model.experts.ple import PLE
from motet.model.experts.shared_bottom import SharedBottom
from motet.settings import ModelSettings

__all__ = ["EXPERTS", "PLE", "MMoE", "SharedBottom", "build_experts"]

EXPERTS: dict[str, type[nn.Module]] = {"shared_bottom": SharedBottom, "mmoe": MMoE, "ple": PLE}


def build_experts(inputs: int, tasks: int, settings: ModelSettings) -> nn.Module:
    """Return the task layers that the recipe names."""
    return EXPERTS[settings.experts](inputs, tasks, settings)
