"""A language model as a text encoder: any transformers AutoModel folder, encoder or decoder.

texts -> tokens -> batches of like length -> model -> pooling -> unit vectors [N, D]
"""

import json
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from motet.devices import Place, ahead, of_encoder
from motet.errors import EncoderError
from motet.settings import EncoderSettings
from motet.storage import file_sha256, fingerprint

_WEIGHTS = ("*.safetensors",)
_TOKENIZER = ("tokenizer*.json", "vocab*", "merges.txt", "*.model", "special_tokens_map.json", "added_tokens.json")


def check_model_folder(model: str) -> Path:
    """Return the folder of a model if it has a configuration, weights and a tokenizer.

    Raises:
        EncoderError: naming what is missing.
    """
    folder = Path(model)
    if not folder.is_dir():
        raise EncoderError(f"encoder.model = {model!r} is not a folder; download the model and give its path")
    if not (folder / "config.json").is_file():
        raise EncoderError(f"encoder.model = {model!r} has no config.json; give the folder of a transformers model")
    if not weight_files(folder):
        raise EncoderError(f"encoder.model = {model!r} has no weights; it needs a *.safetensors file")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")):
        raise EncoderError(f"encoder.model = {model!r} has no tokenizer; it needs tokenizer.json or vocab.txt")
    return folder


def weight_files(folder: Path) -> list[Path]:
    """Return the model's weight files; only safetensors are read, since other formats can run code."""
    return sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))


def encoder_key(settings: EncoderSettings) -> str:
    """Return the name under which this encoder's vectors are cached.

    It covers every byte of the configuration, the tokenizer and the weights, and pooling, length and precision.
    """
    folder = check_model_folder(settings.model)
    tokenizer = {path for pattern in _TOKENIZER for path in folder.glob(pattern) if path.is_file()}
    files = [[path.name, file_sha256(path)] for path in sorted({folder / "config.json", *tokenizer})]
    for path in weight_files(folder):
        state = path.stat()
        files.append([path.name, _weights_sha256(path.resolve(), state.st_size, state.st_mtime_ns)])
    precision = () if settings.precision == "auto" else (settings.precision,)
    return fingerprint(files, settings.pooling, settings.max_tokens, *precision)


@cache
def _weights_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Return the SHA-256 of a large file; size and time of change are there to notice another content."""
    return file_sha256(path)


class TextEncoder:
    """Encodes texts with a language model. Torch and transformers are imported when it is made.

    Args:
        settings: model folder, pooling, length, batch size.
        threads: torch threads of this process; None leaves them as they are.
        place: where it computes; `of_encoder` if None.

    Raises:
        EncoderError: if the folder holds no model that can be loaded, or `place` is a GPU and torch sees none.
    """

    def __init__(self, settings: EncoderSettings, threads: int | None = None, place: Place | None = None) -> None:
        import safetensors
        import torch
        import transformers

        folder = check_model_folder(settings.model)
        if threads is not None:
            torch.set_num_threads(threads)
        self.settings = settings
        self.place = place or of_encoder(settings, torch.cuda.device_count())
        if self.place.gpu and not torch.cuda.is_available():
            raise EncoderError(
                f"encoder.num_gpus = {settings.num_gpus:g} and torch sees no GPU in this process; install torch with "
                "CUDA on the node, or set it to 0"
            )
        self.device = torch.device("cuda" if self.place.gpu else "cpu")
        transformers.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        try:
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = transformers.AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
            first = str(error).splitlines()[0]
            raise EncoderError(f"encoder.model = {settings.model!r} cannot be loaded ({first})") from error
        positions = getattr(model.config, "max_position_embeddings", None)
        if positions and settings.max_tokens > positions:
            raise EncoderError(
                f"encoder.max_tokens = {settings.max_tokens} is above the {positions} positions of {settings.model!r}; "
                "lower it"
            )
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.tokenizer.padding_side = "right"
        self.model: Any = model.eval().to(self.device)
        self.dim = int(model.config.hidden_size)

    def encode(self, texts: Sequence[str], taking: Callable[[Sequence[int]], None] = lambda rows: None) -> np.ndarray:
        """Return unit vectors, float32 [len(texts), dim]; an empty text is encoded like any other.

        Args:
            texts: to encode.
            taking: is told the rows that are about to be worked on: all of them, then those of each batch.

        Raises:
            EncoderError: if the model gives a number that is not finite.
        """
        import torch

        if not len(texts):
            return np.zeros((0, self.dim), np.float32)
        taking(range(len(texts)))
        tokens = self.tokenizer(list(texts), truncation=True, max_length=self.settings.max_tokens)["input_ids"]
        lengths_N = np.array([len(ids) for ids in tokens])
        vectors_ND = np.zeros((len(texts), self.dim), np.float32)
        order_N = np.argsort(lengths_N, kind="stable")
        with torch.inference_mode(), self._precision():
            size = self.settings.batch_size
            batches = [order_N[start : start + size] for start in range(0, len(order_N), size)]
            made = (self._padded([tokens[row] for row in chosen_B]) for chosen_B in batches)
            for chosen_B, padded in zip(batches, ahead(made, self.place.ahead), strict=True):
                taking(chosen_B.tolist())
                vectors_ND[chosen_B] = self._forward(*padded)
        if not np.isfinite(vectors_ND).all():
            raise EncoderError(f"encoder.model = {self.settings.model!r} gave numbers that are not finite")
        return vectors_ND

    def _precision(self) -> Any:
        import torch

        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.place.precision == "bfloat16")

    def _padded(self, tokens: list[list[int]]) -> tuple[Any, Any]:
        """Return (ids, mask), int64 [B, L] each, on their way to the device."""
        import torch

        longest = max(1, max(len(ids) for ids in tokens))
        pad = self.tokenizer.pad_token_id or 0
        ids_BL = torch.full((len(tokens), longest), pad, dtype=torch.long)
        mask_BL = torch.zeros((len(tokens), longest), dtype=torch.long)
        for row, ids in enumerate(tokens):
            ids_BL[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
            mask_BL[row, : max(1, len(ids))] = 1
        if self.place.pinned:
            ids_BL, mask_BL = ids_BL.pin_memory(), mask_BL.pin_memory()
        free = self.place.pinned
        return ids_BL.to(self.device, non_blocking=free), mask_BL.to(self.device, non_blocking=free)

    def _forward(self, ids_BL: Any, mask_BL: Any) -> np.ndarray:
        import torch

        hidden_BLD = self.model(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
        pooled_BD = pool(hidden_BLD.float(), mask_BL, self.settings.pooling)
        return np.asarray(torch.nn.functional.normalize(pooled_BD, dim=-1).cpu().numpy())


def pool(hidden_BLD: Any, mask_BL: Any, how: Literal["mean", "cls", "last"]) -> Any:
    """Return one vector per text: the mean over its tokens, its first token, or its last.

    Args:
        hidden_BLD: the model's last hidden state, right-padded.
        mask_BL: 1 for tokens, 0 for padding.
        how: mean, cls or last.
    """
    import torch

    if how == "cls":
        return hidden_BLD[:, 0]
    if how == "last":
        return hidden_BLD[torch.arange(len(hidden_BLD), device=hidden_BLD.device), mask_BL.sum(1) - 1]
    weights_BL1 = mask_BL.unsqueeze(-1).to(hidden_BLD.dtype)
    return (hidden_BLD * weights_BL1).sum(1) / weights_BL1.sum(1).clamp(min=1)


def actor_threads(settings: EncoderSettings) -> int:
    """Return the torch threads of an encoder actor: its CPU share, rounded up."""
    return max(1, math.ceil(settings.num_cpus))


def model_dim(settings: EncoderSettings) -> int:
    """Return the width of the model's vectors from its configuration, without loading it."""
    config = json.loads((check_model_folder(settings.model) / "config.json").read_text())
    width = config.get("hidden_size") or config.get("dim") or config.get("n_embd") or config.get("d_model")
    if not width:
        raise EncoderError(f"encoder.model = {settings.model!r}: config.json names no hidden_size")
    return int(width)
