"""The language model of a release: the one it was made with, or none."""

import shutil
from pathlib import Path

import pytest

from motet.errors import EncoderError
from motet.recommend import Embedder, Query
from motet.storage import read_json, write_json
from tests.builders import Tiny, write_encoder
from tests.drafts import write_draft


@pytest.fixture
def other(draft: Path, tmp_path: Path) -> Path:
    """A draft whose recipe points to another model than the one it was made with."""
    from transformers import BertConfig, BertModel

    model = write_encoder(tmp_path / "encoder")
    BertModel(BertConfig.from_pretrained(model)).save_pretrained(model)
    folder = Path(shutil.copytree(draft, tmp_path / "draft"))
    recipe = read_json(folder / "recipe.json")
    recipe["encoder"]["model"] = str(model)
    write_json(folder / "recipe.json", recipe)
    return folder


def test_a_text_is_refused_if_the_model_is_another(other: Path) -> None:
    embedder = Embedder(other, threads=1)
    assert embedder.run([Query(user="u01")])[0].level == "known"
    with pytest.raises(EncoderError, match=r"is not the model of this release \(key \w{16}\); restore that folder"):
        embedder.run([Query(text="red car")])
    with pytest.raises(EncoderError, match="is not the model of this release"):
        embedder.require_encoder()


def test_a_text_is_refused_if_the_model_is_gone(draft: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(draft, tmp_path / "draft"))
    recipe = read_json(folder / "recipe.json")
    recipe["encoder"]["model"] = str(tmp_path / "gone")
    write_json(folder / "recipe.json", recipe)
    with pytest.raises(EncoderError, match="gone' is not a folder; download the model"):
        Embedder(folder, threads=1).run([Query(text="red car")])


def test_the_releases_own_model_is_taken(draft: Path) -> None:
    Embedder(draft, threads=1).require_encoder()


def test_a_real_model_finds_what_the_words_mean(minilm: Path, tmp_path: Path) -> None:
    tiny = Tiny.of(minilm, train={"epochs": 1}, encoder={"whitening": False})
    embedder = Embedder(write_draft(tiny, tmp_path / "draft"), threads=1)
    width = embedder.people.text_dim
    assert width == 384
    states = embedder.run([Query(text="a ship on the sea"), Query(text="an aircraft"), Query(text="an automobile")])
    for state, thing in zip(states, ("boat", "plane", "car"), strict=True):
        cosine_I = embedder.items.content_IW[:, :width] @ state.content_W[:width]
        assert embedder.items.titles[int(cosine_I.argmax())].endswith(thing)


def test_what_reaches_a_person_does_not_reach_the_model(draft: Path) -> None:
    embedder, read = Embedder(draft, threads=1), list[str]()
    encode = embedder.encoder.encode
    embedder.encoder.encode = lambda texts: read.extend(texts) or encode(texts)  # type: ignore[func-returns-value,method-assign]
    embedder.run([Query(text="red car, ask joe@example.com")])
    assert read == ["red car, ask [email]"]
