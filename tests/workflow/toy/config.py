"""Configuration of the toy study."""

from typing import Annotated

from pydantic import Field

from mechflow.config.base import Section
from mechflow.config.sections import PositiveInt
from mechflow.config.study import StudyBlock


class Dataset(Section):
    """A handful of sums."""

    p: PositiveInt = 3
    """The modulus."""


class Training(Section):
    """A loop that only counts."""

    steps: PositiveInt = 4
    """Updates."""
    pause: Annotated[float, Field(ge=0.0)] = 0.0
    """Seconds between updates, in which a test may kill the job."""


class Probe(Section):
    """A probe that reads out the scale of the weights."""

    scale: float = 1.0
    """Factor of the score."""


class Variant(Section):
    """One variant of the toy study."""

    dataset: Dataset = Dataset()
    """The sums."""
    training: Training = Training()
    """The loop."""
    probe: Probe = Probe()
    """The probe."""


class Figures(Section):
    """What the figures show."""

    legend: bool = True
    """Whether there is a legend."""


class Toy(StudyBlock):
    """The study's block in the configuration."""

    defaults: Variant = Variant()
    """Values that all variants share."""
    figures: Figures = Figures()
    """What the figures show."""
