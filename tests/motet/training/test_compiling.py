"""torch.compile of the user tower: the same losses, the same names of weights; what it needs is told."""

from pathlib import Path

import pytest
import torch

from motet.errors import TrainingError
from motet.training.compiling import compile_tower, lacking
from motet.training.loop import Epoch
from tests.builders import Tiny


def _losses(tiny: Tiny, backend: str | None) -> tuple[list[dict[str, float]], list[str]]:
    trainer, epochs = tiny.trainer(), list[Epoch]()
    if backend is not None:
        compile_tower(trainer.step_module.model, torch.device("cpu"), backend)
    trainer.run(lambda _: tiny.batches(8)[:2], None, epochs.append, last=1)
    return [one.losses for one in epochs], list(trainer.step_module.model.state_dict())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute:UserWarning")
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_training_is_the_same_training(tiny: Tiny, backend: str) -> None:
    if problem := lacking("cpu"):
        pytest.skip(f"torch.compile needs {problem}")
    (compiled,), names = _losses(tiny, backend)
    (plain,), same_names = _losses(tiny, None)
    assert compiled == pytest.approx(plain, rel=1e-4)
    assert names == same_names


def test_without_a_compiler_it_is_refused(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(TrainingError, match=r"train.compile = true needs a C\+\+ compiler \(g\+\+\) on every node"):
        compile_tower(tiny.card.build(), torch.device("cpu"))
    monkeypatch.setenv("CXX", str(tmp_path / "cxx"))
    (tmp_path / "cxx").touch(mode=0o755)
    assert lacking("cpu") is None
