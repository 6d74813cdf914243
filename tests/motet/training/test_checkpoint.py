"""A run that goes on from a checkpoint is the run that was never stopped; a damaged checkpoint is none."""

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from motet.errors import TrainingError
from motet.model.io import load_model
from motet.training.checkpoint import is_whole, load_checkpoint, newest_whole, save_checkpoint, stepped_weights
from motet.training.loop import Epoch, Progress, Trainer
from tests.builders import Tiny


def _save(folder: Path, trainer: Trainer, tiny: Tiny) -> Path:
    folder.mkdir(parents=True)
    state = {"epoch": trainer.progress.epoch, "progress": asdict(trainer.progress)}
    save_checkpoint(folder, trainer.step_module.model, tiny.card, trainer.optimizer, state, trainer.stepped)
    return folder


def _train(trainer: Trainer, tiny: Tiny, folder: Path) -> list[Epoch]:
    epochs: list[Epoch] = []

    def report(epoch: Epoch) -> None:
        epochs.append(epoch)
        _save(folder / f"epoch-{epoch.number}", trainer, tiny)

    trainer.run(lambda _: tiny.batches(4), tiny.validation, report)
    return epochs


@pytest.fixture(scope="module")
def checkpoints(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of epochs 1, 2 and 3; not to be changed."""
    folder = tmp_path_factory.mktemp("checkpoints")
    _train(tiny.trainer(), tiny, folder)
    return folder


@pytest.fixture
def copy(checkpoints: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoints, tmp_path / "copy"))


@pytest.mark.parametrize(("balance", "average"), [("static", 0.0), ("static", 0.9), ("uncertainty", 0.9), ("dwa", 0.0),
                                                  ("famo", 0.0)])  # fmt: skip
def test_resumed_after_an_epoch_the_run_is_exactly_the_uninterrupted_one(
    encoder_folder: Path, tmp_path: Path, balance: str, average: float
) -> None:
    train = {"epochs": 5, "patience": 5, "average": average}
    tiny = Tiny.of(encoder_folder, model={"balance": balance}, train=train)
    whole = tiny.trainer()
    epochs = _train(whole, tiny, tmp_path / "whole")
    for stopped in (1, 3):
        again = tiny.trainer()
        with torch.no_grad():
            again.step_module.model.log_temperature.fill_(9.0)  # must come from the checkpoint
        state = load_checkpoint(tmp_path / "whole" / f"epoch-{stopped}", again.step_module.model, again.optimizer)
        again.restore(Progress(**state["progress"]), stepped_weights(tmp_path / "whole" / f"epoch-{stopped}"))
        rest = _train(again, tiny, tmp_path / f"again-{stopped}")
        assert [epoch.losses for epoch in rest] == [epoch.losses for epoch in epochs[stopped:]]
        assert [epoch.weights for epoch in rest] == [epoch.weights for epoch in epochs[stopped:]]
        assert [epoch.validation for epoch in rest] == [epoch.validation for epoch in epochs[stopped:]]
        expected = whole.step_module.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in again.step_module.state_dict().items())
        assert asdict(again.progress) == asdict(whole.progress)


def test_the_newest_whole_checkpoint_is_found(copy: Path) -> None:
    assert newest_whole(copy) == copy / "epoch-3"
    assert newest_whole(copy / "none") is None


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model.json", "optimizer.safetensors", "state.json", "manifest.json"]
)
def test_a_damaged_checkpoint_is_refused_by_the_files_name_and_the_one_before_is_used(
    copy: Path, tiny: Tiny, name: str
) -> None:
    path = copy / "epoch-3" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 16
    path.write_bytes(content)
    assert not is_whole(copy / "epoch-3")
    assert newest_whole(copy) == copy / "epoch-2"
    trainer = tiny.trainer()
    before = trainer.step_module.model.log_temperature.clone()
    with pytest.raises(TrainingError, match=rf"epoch-3.*{name}.*; delete it, the one before is used"):
        load_checkpoint(copy / "epoch-3", trainer.step_module.model, trainer.optimizer)
    assert torch.equal(trainer.step_module.model.log_temperature, before)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"files": 1}'])
def test_a_manifest_that_is_none_makes_no_checkpoint(copy: Path, tiny: Tiny, content: str) -> None:
    (copy / "epoch-3" / "manifest.json").write_text(content)
    assert newest_whole(copy) == copy / "epoch-2"
    with pytest.raises(TrainingError, match=r"checkpoint .*epoch-3"):
        load_checkpoint(copy / "epoch-3", (trainer := tiny.trainer()).step_module.model, trainer.optimizer)


def test_a_checkpoint_whose_writer_died_is_none(copy: Path) -> None:
    for name in ("manifest.json", "state.json"):
        (copy / "epoch-3" / name).unlink()
    assert newest_whole(copy) == copy / "epoch-2"


def test_a_checkpoint_of_another_network_is_refused(copy: Path, encoder_folder: Path) -> None:
    trainer = Tiny.of(encoder_folder, model={"expert_dim": 4}).trainer()
    with pytest.raises(TrainingError, match="is of another network; delete it and train anew"):
        load_checkpoint(copy / "epoch-1", trainer.step_module.model, trainer.optimizer)


def test_a_checkpoint_holds_the_model_as_a_bundle_reads_it(copy: Path, tiny: Tiny) -> None:
    model, card = load_model(copy / "epoch-2")
    assert card == tiny.card
    assert not model.training
    trainer = tiny.trainer()
    load_checkpoint(copy / "epoch-2", trainer.step_module.model, trainer.optimizer)
    expected = trainer.step_module.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
