"""The section `serve.canary` of a recipe: how a candidate release is tried on some users, and when it is dropped."""

from pydantic import Field

from motet.data_settings import Section


class CanarySettings(Section):
    """A candidate release beside the current one; the settings of the candidate count."""

    share: float = Field(default=0.05, ge=0, le=1)
    """Share of the users who get the candidate, always the same ones."""
    least_answers: int = Field(default=100, ge=1)
    """Answers of the candidate before it is judged."""
    max_failures: float = Field(default=0.02, ge=0, le=1)
    """How much larger its share of failed or fallen back answers may be than that of the current release."""
    max_slowdown: float = Field(default=1.5, ge=1)
    """How much longer 95 % of its answers may take than those of the current release."""
