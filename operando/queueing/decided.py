"""What people can decide of an item that is held and is to go on, as data."""

from typing import Annotated

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict


class Decided(TypedDict, total=False):
    """The decisions of ``operando resume``, by the names of `operando.resume.resume`."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]

    accept_check: bool
    assume_charge_mah_cm2: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    trust_log: bool
    same_cell: bool
