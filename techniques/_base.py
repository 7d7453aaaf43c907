"""What all data in this package share: frozen, validated, nothing extra."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


class Data(BaseModel):
    """A frozen record; an unknown key is an error, so that a typing slip cannot pass.

    A truth value is no number: ``cycles: yes`` would be one cycle.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _a_truth_value_is_no_number(cls, data: object) -> object:
        if isinstance(data, Mapping):
            numeric = _numeric_fields(cls)
            wrong = [
                InitErrorDetails(type=_NO_NUMBER, loc=(name, *where), input=value)
                for name, told in data.items()
                if name in numeric
                for where, value in _truth_values(told)
            ]
            if wrong:
                raise ValidationError.from_exception_data(cls.__name__, wrong)
        return data


_NO_NUMBER = PydanticCustomError(
    "truth_value_for_number",
    "Input should be a number and no truth value (yes, no, on and off are such)",
)


@cache
def _numeric_fields(model: type[BaseModel]) -> frozenset[str]:
    """Return the fields of a model that take numbers and no truth values."""
    found = set()
    for name, info in model.model_fields.items():
        kinds = list(_kinds(info.annotation))
        if bool not in kinds and (int in kinds or float in kinds):
            found.add(name)
    return frozenset(found)


def _kinds(annotation: Any) -> Iterator[type]:
    """Yield the types of which an annotation consists."""
    if isinstance(annotation, type):
        yield annotation
    if get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from _kinds(part)


def _truth_values(told: object) -> Iterator[tuple[tuple[int | str, ...], bool]]:
    """Yield where in a field's value there are truth values."""
    if isinstance(told, bool):
        yield (), told
    elif isinstance(told, Mapping):
        for key, value in told.items():
            for where, found in _truth_values(value):
                yield (str(key), *where), found
    elif isinstance(told, list | tuple):
        for index, value in enumerate(told):
            for where, found in _truth_values(value):
                yield (index, *where), found
