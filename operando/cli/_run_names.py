"""Which run is meant by what was typed."""

from pathlib import Path


class NoSuchRunError(Exception):
    """No run, or more than one, is meant by what was typed."""


def resolve_run(folder: Path, text: str) -> str:
    from operando.journal import resolve_uid

    try:
        return resolve_uid(folder, text)
    except LookupError as error:
        raise NoSuchRunError(str(error)) from error
