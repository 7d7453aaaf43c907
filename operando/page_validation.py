"""Event pages as flyers hand them out pass at a glance; all else is left to event_model.

event_model validates every page against its JSON schema in pure Python and visits every cell of
it twice, although the schema demands nothing of a cell: nine tenths of what the RunEngine spends
on a row. It looks the validator up in its public mapping ``schema_validators``; that is where
ours is put before its.
"""

import hashlib
import json
import logging
from typing import Any

import event_model
from event_model import DocumentNames

logger = logging.getLogger(__name__)

# Of the schema whose demands `is_plain_page` knows; another one is left alone.
KNOWN_SCHEMA_SHA256 = "38f9ae870217380a88298946eb1b48c8e9206518cc4d0cca33766ffaaea92a7c"
_STRINGS: set[type] = {str}
_NUMBERS: set[type] = {int, float}
_KEYS = {"descriptor", "uid", "seq_num", "time", "data", "timestamps", "filled"}


class PageValidator:
    """Accepts plain pages by a glance; any other document gets the verdict of the validator kept.

    Args:
        kept: The validator of event_model. Its word is final, and so are its errors.
    """

    def __init__(self, kept: Any) -> None:
        self.kept = kept

    def validate(self, doc: Any) -> None:
        """Return if ``doc`` is a valid event page; else raise jsonschema's ValidationError."""
        if not is_plain_page(doc):
            self.kept.validate(doc)

    def __getattr__(self, name: str) -> Any:
        # Whoever asks for more than validate() asks the validator itself.
        if name == "kept":
            raise AttributeError(name)
        return getattr(self.kept, name)


def is_plain_page(doc: Any) -> bool:
    """Return whether ``doc`` is an event page of plain lists; then the schema accepts it.

    False tells nothing: a page of tuples or arrays, or one whose ``filled`` tells something, may
    be valid too.
    """
    return (
        type(doc) is dict
        and doc.keys() == _KEYS
        and type(doc["descriptor"]) is str
        and _is_list_of(doc["uid"], _STRINGS)
        and _is_list_of(doc["seq_num"], {int})
        and _is_list_of(doc["time"], _NUMBERS)
        and _is_dict_of_lists(doc["data"])
        and _is_dict_of_lists(doc["timestamps"])
        and type(doc["filled"]) is dict
        and not doc["filled"]
    )


def _is_list_of(values: Any, types: set[type]) -> bool:
    return type(values) is list and types.issuperset(map(type, values))


def _is_dict_of_lists(columns: Any) -> bool:
    return (
        type(columns) is dict
        and _STRINGS.issuperset(map(type, columns))
        and {list}.issuperset(map(type, columns.values()))
    )


def schema_sha256(schema: Any) -> str:
    """Return the SHA-256 of a JSON schema, in hexadecimal."""
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()


def use() -> None:
    """Let event_model validate event pages by `PageValidator` in this process; idempotent.

    Changes nothing if event_model has another schema for them than the one known here: pages then
    cost what they cost without.
    """
    validators = event_model.schema_validators
    kept = validators[DocumentNames.event_page]
    if isinstance(kept, PageValidator):
        return
    if schema_sha256(kept.schema) != KNOWN_SCHEMA_SHA256:
        logger.info("event_model has a new schema of event pages, which is applied to every cell")
        return
    validators[DocumentNames.event_page] = PageValidator(kept)
