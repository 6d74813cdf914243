"""The sections of a recipe, one class each; every field says what it does.

All are frozen and refuse unknown keys. Defaults are those of a small recommender on one machine.
"""

from typing import Literal, get_args

from pydantic import Field, model_validator

from motet.data_settings import Section


class EncoderSettings(Section):
    """The language model that turns text into vectors."""

    model: str = Field(min_length=1)
    """Folder of a transformers AutoModel with its tokenizer; `${NAME:-default}` and `~` are expanded."""
    pooling: Literal["mean", "cls", "last"] = "mean"
    """Mean over tokens, first token, or last token (decoders)."""
    max_tokens: int = Field(default=64, ge=2, le=8192)
    """Longer text is cut."""
    batch_size: int = Field(default=64, ge=1)
    """Texts per forward pass."""
    whitening: bool = True
    """Centre and decorrelate the vectors, fitted on the items."""
    whitening_shrinkage: float = Field(default=0.1, ge=0, le=1)
    """Share of the mean variance blended into each direction before whitening."""
    actors: int = Field(default=1, ge=1)
    """Largest number of encoder actors."""
    num_cpus: float = Field(default=1.0, gt=0)
    """CPUs per actor; also its torch threads (rounded up)."""
    num_gpus: float = Field(default=0.0, ge=0)
    """GPUs per actor, and per replica of the Embedder; a share such as 0.5 lets two have one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the model's products are taken in: `auto` is bfloat16 on a GPU and float32 on CPUs. Of CPUs those with
    AVX-512 BF16 or AMX are faster in bfloat16 (`lscpu`), all others much slower."""

    @model_validator(mode="after")
    def _whole_gpus(self) -> "EncoderSettings":
        if self.num_gpus > 1 and self.num_gpus != int(self.num_gpus):
            raise ValueError(f"num_gpus = {self.num_gpus:g} is no share of one GPU and no whole number; use 1 or 2")
        return self


class ModelSettings(Section):
    """Item tower, user tower, experts."""

    dim: int = Field(default=64, ge=4)
    """Width of item and user vectors."""
    history: int = Field(default=50, ge=1, le=4096)
    """Latest events that the user tower reads."""
    sequence: Literal["transformer", "hstu", "gru4rec"] = "transformer"
    """What the user tower reads the history with."""
    time_signal: bool = True
    """The user tower reads the gaps between events, and how long the user was away when asking."""
    layers: int = Field(default=2, ge=1, le=24)
    """Layers of the user tower."""
    heads: int = Field(default=2, ge=1)
    """Attention heads."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Drop-out in the towers."""
    item_parts: Literal["both", "ids", "contents"] = "both"
    """What the item tower reads: text, attributes and numbers, the item's id, or both; an item without events has no
    id."""
    id_dropout: float = Field(default=0.15, ge=0, lt=1)
    """Share of items whose id part is dropped in a training step."""
    experts: Literal["shared_bottom", "mmoe", "ple"] = "mmoe"
    """Task layers."""
    num_experts: int = Field(default=4, ge=1, le=64)
    """Experts (mmoe), or shared experts (ple; each task has one more of its own)."""
    expert_layers: int = Field(default=1, ge=1, le=8)
    """Layers of experts, one after another (ple)."""
    expert_dim: int = Field(default=64, ge=1)
    """Width of an expert's output."""
    task_embeddings: bool = False
    """Each task has a small embedding of its own for every item with events."""
    estimates: Literal["auto", "factors", "items", "priors", "none"] = "auto"
    """What the heads read of labels before any network: offsets and priors of users and items, labels of near items
    (items), and what factors of items make of them (factors: both); auto takes items up to `estimates_limit`, then
    priors, and none if a task draws negatives."""
    estimates_limit: int = Field(default=3_000, ge=1)
    """Largest catalogue whose near items are known under auto and factors: items x items numbers per scored task."""
    balance: Literal["static", "uncertainty", "dwa", "famo", "gradnorm", "pcgrad", "cagrad"] = "static"
    """How the tasks' losses, or their gradients (pcgrad, cagrad), are combined."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "ModelSettings":
        if self.dim % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide dim = {self.dim}; choose a divisor")
        return self

    @model_validator(mode="after")
    def _layers_are_of_ple(self) -> "ModelSettings":
        if self.expert_layers > 1 and self.experts != "ple":
            raise ValueError(
                f"expert_layers = {self.expert_layers} is for experts: ple, not {self.experts}; set it to 1"
            )
        return self


class IndexSettings(Section):
    """The vector index."""

    kind: Literal["auto", "flat", "sq8", "ivf", "ivfpq", "hnsw"] = "auto"
    """auto: flat up to `flat_limit` items, then ivf, with `nprobe` raised until the recall floor is reached."""
    shards: int = Field(default=1, ge=1, le=64)
    """Parts of equal length, for an index that is larger than a replica should hold: above 1 each is served by a
    deployment of its own (`Shard0`, ...; scaled as `serve.retriever`), and vectors are mapped in place of read."""
    flat_limit: int = Field(default=50_000, ge=1)
    """Largest catalogue, or part of one, with an exact index under auto."""
    nprobe: int = Field(default=32, ge=1)
    """Lists probed (ivf, ivfpq)."""
    ef_search: int = Field(default=128, ge=1)
    """Width of the search (hnsw)."""
    pq_dims: int = Field(default=4, ge=1, le=64)
    """Numbers of a vector that one byte stands for (ivfpq)."""
    refine: int = Field(default=4, ge=1, le=100)
    """Times k that short codes choose, to be compared by the vectors themselves (sq8, ivfpq)."""
    exact_below: int = Field(default=20_000, ge=0)
    """Filters that leave at most so many items are searched exactly."""
    recall_floor: float = Field(default=0.95, ge=0, le=1)
    """Recall@100 against exact search below which the stage fails."""
    gpu: bool = False
    """The index is built on a GPU (needs a FAISS with GPU support); it is searched on CPUs."""

    @model_validator(mode="after")
    def _graphs_are_built_on_cpus(self) -> "IndexSettings":
        if self.gpu and self.kind == "hnsw":
            raise ValueError("gpu = true has no hnsw; use kind: ivf, or leave it out")
        return self


SourceName = Literal[
    "vectors", "item_knn", "user_knn", "transitions", "ease", "als", "again", "profile", "popularity",
    "popularity_all", "popularity_segment",
]  # fmt: skip


class TreeSettings(Section):
    """The fusion's gradient-boosted trees (LightGBM)."""

    rounds: int = Field(default=200, ge=1, le=10_000)
    """Trees."""
    leaves: int = Field(default=7, ge=2, le=1024)
    """Leaves of a tree."""
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    """Share of each tree that counts."""
    rows_per_leaf: int = Field(default=50, ge=1)
    """Fewest candidates in a leaf."""
    depth_of_list: int = Field(default=20, ge=1)
    """Places at the top whose order the loss looks at."""
    threads: int = Field(default=2, ge=1)
    """Threads of the fit."""


class RetrievalSettings(Section):
    """Where candidates come from."""

    sources: tuple[SourceName, ...] | Literal["auto"] = Field(
        default=("vectors", "item_knn", "user_knn", "transitions", "profile", "popularity"), min_length=1
    )
    """Sources whose candidate lists are fused; auto keeps of all those that help on validation."""
    candidates: int = Field(default=200, ge=1, le=2000)
    """Candidates per source."""
    neighbours: int = Field(default=100, ge=1)
    """Neighbours kept per item, and users per user."""
    similarity: Literal["cosine", "bm25"] = "cosine"
    """What makes two items alike (item_knn): cosine, or BM25-weighted counts, where long histories say less."""
    shrinkage: float = Field(default=10.0, ge=0)
    """Added to the co-occurrence norm, so that rare pairs don't win."""
    transition_window: int = Field(default=20, ge=1)
    """How many later events count as following an event."""
    transition_decay: float = Field(default=5.0, gt=0)
    """Steps in which a transition's weight falls by e."""
    transition_half_life_days: float | None = Field(default=None, gt=0)
    """Days between two events, and from one to the moment of asking, in which a transition halves besides;
    null counts steps alone."""
    popularity_half_life_days: float = Field(default=7.0, gt=0)
    """Age at which an event counts half for popularity."""
    popularity_of_liked: bool = False
    """Popularity counts liked events only."""
    user_cap: int | None = Field(default=None, ge=1)
    """Events of one user that count in full in what the crowd says (every source but vectors and profile): of somebody
    with n more than that each counts user_cap / n, so that nobody says more than others by meeting much. null: all
    count in full."""
    memory_half_life_days: float = Field(default=60.0, gt=0)
    """Age at which an event counts half for user_knn and ease."""
    disliked_weight: float = Field(default=0.3, ge=0, le=1)
    """What a disliked event counts for user_knn and ease (liked or unknown: 1)."""
    ease_ridge: float = Field(default=100.0, gt=0)
    """Penalty of ease."""
    ease_limit: int = Field(default=5_000, ge=1)
    """Largest catalogue that ease may solve: items x items numbers are held in memory."""
    als_factors: int = Field(default=32, ge=1, le=512)
    """Factors of als."""
    als_rounds: int = Field(default=8, ge=1)
    """Alternations of als."""
    als_ridge: float = Field(default=10.0, gt=0)
    """Penalty of als."""
    als_limit: int = Field(default=200_000_000, ge=1)
    """Most numbers (items x factors x factors) in the normal equations of als."""
    fusion: Literal["trees", "logit"] = "trees"
    """How lists become one: trees over sources, crowd, contents and user; or a conditional logit over sources."""
    moments: int = Field(default=4, ge=0, le=50)
    """Past moments, besides validation, whose candidates the trees learn from."""
    fit_users: int = Field(default=2_000, ge=1)
    """Most users asked per moment."""
    ablate: bool = False
    """Say in the report what each source adds on validation (under `sources: auto` always)."""
    trees: TreeSettings = TreeSettings()
    """The trees of `fusion: trees`."""

    @model_validator(mode="after")
    def _trees_judge(self) -> "RetrievalSettings":
        if self.fusion == "logit" and (self.sources == "auto" or self.ablate):
            key = "sources = auto" if self.sources == "auto" else "ablate = true"
            raise ValueError(f"{key} is judged by trees, and fusion = logit; set fusion to trees, or leave it out")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The sources that are built: those chosen, or all to choose from."""
        return get_args(SourceName) if self.sources == "auto" else self.sources


class RankingSettings(Section):
    """From task scores to an ordered list."""

    calibration: Literal["auto", "none", "temperature", "platt", "isotonic"] = "auto"
    """Calibrator of binary tasks, fitted on validation; auto chooses on the later events of it."""
    diversity: float = Field(default=0.0, ge=0, le=1)
    """Strength of maximal marginal relevance; 0 orders by value alone."""


class EvaluateSettings(Section):
    """The offline evaluation."""

    k: int = Field(default=10, ge=1, le=500)
    """Length of the lists."""
    surface: str | None = None
    """Surface that is evaluated; the first if not set."""
    target: str | None = None
    """Binary task whose positives are the targets, here and for the fusion; any event if not set."""
    history: Literal["parts", "before", "around", "rolling"] = "parts"
    """What is known of a user: the parts before the held-out one; of these the events before each held-out event; these
    and, for the estimates of labels alone, those after it as well, in training too (around, if data.split is not in
    time); or all events before it, held-out ones too (rolling)."""
    least_history: int = Field(default=0, ge=0)
    """Events that a user must have before one counts (rolling)."""
    cold_events: int = Field(default=5, ge=0)
    """Most events before the test of an item that counts as cold."""
    max_users: int = Field(default=100_000, ge=1)
    """Users evaluated; above it, a seeded sample."""


class ReleaseSettings(Section):
    """The release gate."""

    max_drop: float = Field(default=0.05, ge=0, le=1)
    """Largest relative loss of NDCG, and of each task's figures, against the current release of the same protocol."""
    max_slice_drop: float = Field(default=0.2, ge=0, le=1)
    """The same for cold items, cold users, head and tail, which are fewer and so vary more."""
    least_rows: int = Field(default=100, ge=1)
    """Lists or labelled rows that a slice must have to be judged."""
    max_below_popularity: float = Field(default=0.05, ge=0, le=1)
    """How far NDCG may be below that of popularity, if it is a source, as a share of it."""
    max_exposure_growth: float = Field(default=10.0, ge=1)
    """Times the share of lists that an item may be in, against the current release: more is what one who pushes an item
    would reach."""
    least_exposure: float = Field(default=0.1, ge=0, le=1)
    """Share of lists below which an item's growth is not judged; 1 judges none."""
    golden_requests: int = Field(default=8, ge=1, le=1000)
    """Requests whose answers travel in the bundle and are replayed before it is published."""


class ResourceSettings(Section):
    """What a local run takes; on a cluster Ray says what there is."""

    num_cpus: int | None = Field(default=None, ge=1)
    """CPUs of the local Ray; all if not set."""
    object_store_mb: int = Field(default=500, ge=80)
    """Object store of the local Ray in MB."""
