"""Text encoders against transformers by hand: mean, first and last token; encoder and decoder."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from motet.devices import ON_CPU, ON_GPU
from motet.encoders.text import TextEncoder, actor_threads, check_model_folder, encoder_key, model_dim, pool
from motet.errors import EncoderError
from motet.settings import EncoderSettings
from tests.builders import write_encoder

TEXTS = ["red car", "a fast blue boat : slow plane", "", "unknown words", "red car"]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("decoder"), causal=True)


def _by_hand(folder: Path, text: str, pooling: str, max_tokens: int) -> np.ndarray:
    """One text at a time through transformers, without padding."""
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text, truncation=True, max_length=max_tokens, return_tensors="pt")
    with torch.no_grad():
        hidden = (
            AutoModel.from_pretrained(folder)
            .eval()(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
            .last_hidden_state[0]
        )
    pooled = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling]
    return (pooled / pooled.norm()).numpy()


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("kind", ["encoder_folder", "decoder"])
@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_padding_and_batches_change_nothing(
    request: pytest.FixtureRequest, kind: str, pooling: str, batch_size: int
) -> None:
    folder = request.getfixturevalue(kind)
    settings = EncoderSettings(model=str(folder), pooling=pooling, max_tokens=5, batch_size=batch_size)
    vectors = TextEncoder(settings, 1).encode(TEXTS)
    assert vectors.dtype == np.float32
    for vector, text in zip(vectors, TEXTS, strict=True):
        if text:
            np.testing.assert_allclose(vector, _by_hand(folder, text, pooling, 5), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[4], atol=1e-6)


def test_a_real_model_s_mean_pooling_and_meaning(minilm: Path) -> None:
    settings = EncoderSettings(model=str(minilm), max_tokens=32, batch_size=2)
    texts = ["A ship sails on the ocean.", "The boat crosses the sea.", "He bakes bread with flour and yeast."]
    vectors = TextEncoder(settings, 1).encode(texts)
    for vector, text in zip(vectors, texts, strict=True):
        np.testing.assert_allclose(vector, _by_hand(minilm, text, "mean", 32), atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.5 > 0.3 > vectors[0] @ vectors[2]
    assert model_dim(settings) == 384 == vectors.shape[1]


def test_batches_made_ahead_and_bfloat16_give_the_same_vectors(encoder_folder: Path) -> None:
    settings = EncoderSettings(model=str(encoder_folder), max_tokens=5, batch_size=2)
    plain = TextEncoder(settings, 1).encode(TEXTS)
    np.testing.assert_array_equal(TextEncoder(settings, 1, replace(ON_CPU, ahead=2)).encode(TEXTS), plain)
    coarse = TextEncoder(settings.model_copy(update={"precision": "bfloat16"}), 1).encode(TEXTS)
    assert not np.array_equal(coarse, plain)
    np.testing.assert_allclose(coarse, plain, atol=0.05)


def test_a_gpu_that_torch_does_not_see_is_refused(encoder_folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("torch sees a GPU")
    settings = EncoderSettings(model=str(encoder_folder), max_tokens=5, num_gpus=0.5)
    with pytest.raises(EncoderError, match=r"encoder.num_gpus = 0.5 and torch sees no GPU in this process; install"):
        TextEncoder(settings, 1, ON_GPU)
    assert TextEncoder(settings, 1).place == ON_CPU


def test_no_text_gives_no_vector(encoder_folder: Path) -> None:
    assert TextEncoder(EncoderSettings(model=str(encoder_folder), max_tokens=8), 1).encode([]).shape == (0, 16)


def test_text_beyond_max_tokens_is_cut(encoder_folder: Path) -> None:
    encoder = TextEncoder(EncoderSettings(model=str(encoder_folder), max_tokens=3), 1)
    vectors = encoder.encode(["red car the boat plane", "red car the"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_more_tokens_than_the_model_has_positions_for_are_refused(encoder_folder: Path) -> None:
    with pytest.raises(EncoderError, match=r"encoder.max_tokens = 33 is above the 32 positions of .*; lower it"):
        TextEncoder(EncoderSettings(model=str(encoder_folder), max_tokens=33), 1)
    TextEncoder(EncoderSettings(model=str(encoder_folder), max_tokens=32), 1).encode(["car " * 99])


def test_pooling_by_hand() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[5.0, 5.0], [7.0, 7.0], [9.0, 0.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert pool(hidden, mask, "mean").tolist() == [[2.0, 4.0], [7.0, 4.0]]
    assert pool(hidden, mask, "cls").tolist() == [[1.0, 2.0], [5.0, 5.0]]
    assert pool(hidden, mask, "last").tolist() == [[3.0, 6.0], [9.0, 0.0]]


def test_a_model_that_gives_numbers_that_are_not_finite_is_refused(encoder_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = Path(shutil.copytree(encoder_folder, tmp_path / "model"))
    model = AutoModel.from_pretrained(folder)
    with torch.no_grad():
        model.embeddings.LayerNorm.weight.fill_(torch.nan)
    model.save_pretrained(folder)
    with pytest.raises(EncoderError, match="gave numbers that are not finite"):
        TextEncoder(EncoderSettings(model=str(folder), max_tokens=8), 1).encode(["red"])


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", r"has no weights; it needs a \*.safetensors file"),
        ("tokenizer*", "has no tokenizer"),
        ("*", "has no config.json"),
    ],
)
def test_a_folder_that_lacks_a_part_is_refused_by_that_part(
    encoder_folder: Path, tmp_path: Path, gone: str, said: str
) -> None:
    folder = Path(shutil.copytree(encoder_folder, tmp_path / "model"))
    for path in folder.glob(gone):
        path.unlink()
    with pytest.raises(EncoderError, match=said):
        check_model_folder(str(folder))
    with pytest.raises(EncoderError, match=said):
        TextEncoder(EncoderSettings(model=str(folder)))


def test_a_folder_that_is_none_and_weights_that_are_none_are_refused(encoder_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="'/nowhere' is not a folder; download the model"):
        check_model_folder("/nowhere")
    folder = Path(shutil.copytree(encoder_folder, tmp_path / "model"))
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        TextEncoder(EncoderSettings(model=str(folder)))


def test_the_key_changes_with_everything_that_changes_vectors(encoder_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(encoder_folder, tmp_path / "model"))
    settings = EncoderSettings(model=str(folder))
    keys = [encoder_key(settings)]
    assert keys == [encoder_key(EncoderSettings(model=str(encoder_folder), batch_size=3, num_cpus=2))]
    changes: list[dict[str, Any]] = [{"pooling": "cls"}, {"max_tokens": 9}, {"precision": "bfloat16"}]
    keys += [encoder_key(settings.model_copy(update=one)) for one in changes]
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        keys.append(encoder_key(settings))
    for name in ("merges.txt", "vocab.json", "spiece.model", "special_tokens_map.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
        keys.append(encoder_key(settings))
    assert len(set(keys)) == 12


def test_a_byte_in_the_middle_of_large_weights_counts(encoder_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(encoder_folder, tmp_path / "model"))
    settings, content = EncoderSettings(model=str(folder)), bytearray(3 << 20)
    keys = []
    for value in (0, 1):
        content[len(content) // 2] = value
        (folder / "model.safetensors").write_bytes(content)
        os.utime(folder / "model.safetensors", ns=(value, value))
        keys.append(encoder_key(settings))
    assert keys[0] != keys[1]


@pytest.mark.parametrize(("config", "dim"), [({"hidden_size": 5}, 5), ({"dim": 6}, 6), ({"n_embd": 7}, 7), ({}, None)])
def test_the_width_comes_from_the_configuration(
    encoder_folder: Path, tmp_path: Path, config: dict[str, int], dim: int | None
) -> None:
    folder = Path(shutil.copytree(encoder_folder, tmp_path / "model"))
    (folder / "config.json").write_text(json.dumps(config))
    settings = EncoderSettings(model=str(folder))
    if dim is None:
        with pytest.raises(EncoderError, match=r"config\.json names no hidden_size"):
            model_dim(settings)
    else:
        assert model_dim(settings) == dim


@pytest.mark.parametrize(("cpus", "threads"), [(0.2, 1), (1.0, 1), (1.5, 2), (4.0, 4)])
def test_an_actor_has_a_thread_for_each_cpu_begun(cpus: float, threads: int) -> None:
    assert actor_threads(EncoderSettings(model="m", num_cpus=cpus)) == threads
