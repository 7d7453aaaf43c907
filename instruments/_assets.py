"""Announcing the rows of a SWMR file in a run's documents."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from bluesky.protocols import StreamAsset
from event_model import ComposeStreamResourceBundle, StreamRange, compose_stream_resource

from instruments._swmr import chunk_shape


class AssetStream:
    """The documents that announce the rows of one SWMR file.

    Args:
        path: the file.
        keys: data key of the event stream -> (HDF5 dataset, shape of one row).
    """

    def __init__(self, path: str | Path, keys: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        self.path = Path(path).resolve()
        self._keys = dict(keys)
        self._bundles: list[ComposeStreamResourceBundle] | None = None

    @property
    def uri(self) -> str:
        """Return the file's address, ``file://localhost/...``, absolute and percent-encoded."""
        name = self.path.as_posix()
        return "file://localhost" + quote(name if name.startswith("/") else f"/{name}", safe="/:")

    def documents(self, start: int, stop: int) -> Iterator[StreamAsset]:
        """Yield stream_datum documents for rows ``start`` to ``stop - 1``.

        The first call yields one stream_resource per data key before them. Call it for rows whose
        index ``append`` has returned, never ahead.
        """
        if self._bundles is None:
            self._bundles = [
                compose_stream_resource(
                    mimetype="application/x-hdf5",
                    uri=self.uri,
                    data_key=key,
                    parameters={
                        "dataset": dataset,
                        "chunk_shape": list(chunk_shape(row_shape)),
                        "swmr": True,
                    },
                )
                for key, (dataset, row_shape) in self._keys.items()
            ]
            for bundle in self._bundles:
                yield "stream_resource", bundle.stream_resource_doc
        if stop > start:
            for bundle in self._bundles:
                yield (
                    "stream_datum",
                    bundle.compose_stream_datum(indices=StreamRange(start=start, stop=stop)),
                )
