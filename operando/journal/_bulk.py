"""Reading many rows at once: the pages of a stream as one long page."""

from collections.abc import Iterator
from pathlib import Path

from ._format import HEADERS, Document, RecordReader
from ._roots import expand as expand_uri
from ._roots import folder_of_journal

_HEADER_SIZE = len(HEADERS[0])
_READ_BYTES = 1 << 20


def documents_in_bulk(
    path: Path | str, *, expand: Path | str | None = None
) -> Iterator[tuple[str, Document]]:
    """Yield the documents of a run with as many rows to a page as can be read together.

    As ``documents(path, arrays=True)``, but pages of one stream that follow each other are one
    page, without ``uid`` and ``filled``. Within a stream the order is kept; rows of one stream may
    come later than what other streams did after them.

    Args:
        path: the journal.
        expand: the data folder put in place of the token in asset URIs; by default the folder
            the journal lies in.

    Raises:
        JournalError: if the file is not a journal or of a newer format.
    """
    from ._alike import Pages  # numpy, which a list of runs has no use for

    path = Path(path)
    pages = Pages(Path(expand).resolve() if expand else folder_of_journal(path))
    offset = 0
    # Not mapped into memory: a file that is cut meanwhile would end the process.
    with open(path, "rb", buffering=0) as file:
        if file.read(_HEADER_SIZE) in HEADERS:
            offset = _HEADER_SIZE
            buffer, rest, missing = bytearray(_READ_BYTES), b"", 0
            while missing >= 0:
                if len(buffer) < len(rest) + max(missing, _READ_BYTES):
                    buffer = bytearray(len(rest) + max(missing, _READ_BYTES))
                buffer[: len(rest)] = rest
                more = file.readinto(memoryview(buffer)[len(rest) :])
                if not more:
                    break
                content = memoryview(buffer)[: len(rest) + more]
                taken, missing = yield from pages.take(content)
                offset += taken
                rest = bytes(content[taken:])
    yield from pages.rest()
    # The reader knows what to make of the end, and of what is no journal.
    for record in RecordReader(path, offset, arrays=True):
        yield record.name, expand_uri(record.name, record.doc, pages.data_dir)
