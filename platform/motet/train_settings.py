"""The section `train` of a recipe: the training run, and how private its user tower is."""

from pydantic import Field, model_validator

from motet.data_settings import Section


class PrivateSettings(Section):
    """Differential privacy of the user tower."""

    epsilon: float = Field(gt=0, le=1e4)
    """What one window of a user's events may at most tell of itself, over all epochs."""
    delta: float = Field(default=1e-5, gt=0, lt=1)
    """Probability with which it may tell more; below one by the number of windows."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of a window's gradient."""


class TrainSettings(Section):
    """The training run."""

    workers: int = Field(default=2, ge=0)
    """Data-parallel workers; 0 runs the loop in the job's own process."""
    min_workers: int | None = Field(default=None, ge=1)
    """Workers with which a run begins, or goes on after a node was lost, if there are no more; `workers` if not set."""
    cpus_per_worker: float = Field(default=0.5, gt=0)
    """CPUs that Ray reserves for each worker."""
    threads_per_worker: int = Field(default=1, ge=1)
    """Torch threads of each worker."""
    use_gpu: bool = False
    """One GPU per worker, NCCL, bfloat16 autocast."""
    compile: bool = False
    """The user tower goes through torch.compile; takes minutes to begin, and a C++ compiler (on GPUs triton)."""
    epochs: int = Field(default=10, ge=1)
    """Most epochs."""
    batch_size: int = Field(default=64, ge=1)
    """Sequences per step over all workers."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """AdamW's peak learning rate."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""
    warmup_steps: int = Field(default=50, ge=0)
    """Steps of linear warm-up; a cosine to a tenth follows."""
    average: float = Field(default=0.0, ge=0, lt=1)
    """Share of a moving average of the weights that a step keeps, such as 0.998; the average is what is validated and
    released. 0 takes the weights themselves."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    patience: int = Field(default=3, ge=1)
    """Epochs without a better validation metric before training stops."""
    select_by: str | None = None
    """Validation metric that chooses the epoch: <task>.<metric>; <retrieval task>.ndcg if not set."""
    negatives: int = Field(default=0, ge=0)
    """Uniform negatives per step besides the batch's own items; 0 uses the whole catalogue."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Label smoothing of the retrieval loss."""
    refit: bool = False
    """Train once more on train and validation, for as many epochs as were best: that network is tested and released."""
    held_back: int = Field(default=0, ge=0)
    """Past moments (`retrieval.moments`) whose events the first network leaves out, so that the fusion learns from its
    scores there as well; needs `refit`."""
    private: PrivateSettings | None = None
    """Trains the user tower with DP-SGD (the package's extra `private`)."""
    rows_in_memory: int = Field(default=200_000, ge=0)
    """Windows that a worker keeps after the first epoch; more than that are streamed in every epoch."""
    max_failures: int = Field(default=3, ge=0)
    """Worker failures that are survived from the last checkpoint."""

    @property
    def least_workers(self) -> int:
        """Workers without which there is no training."""
        return self.workers if self.min_workers is None else self.min_workers

    @model_validator(mode="after")
    def _fewer_than_all(self) -> "TrainSettings":
        if self.least_workers > self.workers:
            raise ValueError(f"min_workers = {self.min_workers} is above workers = {self.workers}; lower it")
        return self

    @model_validator(mode="after")
    def _private_alone(self) -> "TrainSettings":
        if self.private is None:
            return self
        if self.workers > 1 or self.compile or self.use_gpu:
            raise ValueError("private is for one worker on CPUs without compile; set workers to 0 or 1")
        if self.negatives:
            raise ValueError(
                f"private needs losses of each window by itself, and negatives = {self.negatives} are of all together; "
                "set it to 0"
            )
        return self

    @model_validator(mode="after")
    def _held_back_comes_back(self) -> "TrainSettings":
        if self.held_back and not self.refit:
            raise ValueError(
                f"held_back = {self.held_back} leaves the latest training events out; set refit: true to train on them"
            )
        return self
