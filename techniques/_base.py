"""What all data in this package share: frozen, validated, nothing extra."""

from pydantic import BaseModel, ConfigDict


class Data(BaseModel):
    """A frozen record; an unknown key is an error, so that a typing slip cannot pass."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
