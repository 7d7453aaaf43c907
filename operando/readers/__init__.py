"""Readers of files that other instruments and laboratories hand over.

Each returns a `Table`: named columns with units, what positive current means, and a digest of the
file; whatever is doubtful in a file is a `ReaderError` that names it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from operando.readers._table import ReaderError, Source, Table, text_of
from operando.readers.agilent import read_agilent
from operando.readers.biologic import read_biologic
from operando.readers.delimited import read_bdf, read_csv
from operando.readers.diffraction import read_xy
from operando.readers.fusion import read_fusion
from operando.readers.gamry import read_gamry
from operando.readers.gwyddion import read_gwy
from operando.readers.jcamp import read_jcamp
from operando.readers.mass_spectrometry import read_dems
from operando.readers.palmsens import read_palmsens, read_palmsens_session
from operando.readers.surface import read_height_map, read_waveform
from operando.readers.zplot import read_zplot

__all__ = [
    "FORMATS",
    "ReaderError",
    "Source",
    "Table",
    "read",
    "read_agilent",
    "read_bdf",
    "read_biologic",
    "read_csv",
    "read_dems",
    "read_fusion",
    "read_gamry",
    "read_gwy",
    "read_height_map",
    "read_jcamp",
    "read_palmsens",
    "read_palmsens_session",
    "read_waveform",
    "read_xy",
    "read_zplot",
]

FORMATS: Mapping[str, Callable[[Path], Table]] = MappingProxyType(
    {
        "gamry_dta": read_gamry,
        "biologic_mpt": read_biologic,
        "zplot_z": read_zplot,
        "palmsens_pssession": read_palmsens,
        "fusion_json": read_fusion,
        "bdf_csv": read_bdf,
        "agilent_csv": read_agilent,
        "dems_csv": read_dems,
        "jcamp_dx": read_jcamp,
        "xrd_xy": read_xy,
        "afm_text": read_height_map,
        "gwy": read_gwy,
        "ultrasound_csv": read_waveform,
    }
)
_ENDINGS = {
    ".dta": "gamry_dta", ".mpt": "biologic_mpt", ".z": "zplot_z",
    ".pssession": "palmsens_pssession", ".json": "fusion_json", ".bdf": "bdf_csv",
    ".dx": "jcamp_dx", ".jdx": "jcamp_dx", ".jcm": "jcamp_dx", ".xy": "xrd_xy", ".xye": "xrd_xy",
    ".xyz": "afm_text", ".gwy": "gwy",
}  # fmt: skip


def read(path: Path | str, format: str | None = None) -> Table:
    """Read a file by its format, which its name's ending tells if none is given.

    Args:
        path: The file.
        format: A name in `FORMATS`.

    Raises:
        ReaderError: The format is not known or cannot be told, or what its reader raises. A plain
            table of which nothing tells the sign of its current is for `read_csv`.
    """
    path = Path(path)
    name = path.name.lower()
    if format is None and name.endswith(".csv"):
        format = _kind_of_csv(path)
    format = format or _ENDINGS.get(path.suffix.lower())
    if format is None or format not in FORMATS:
        raise ReaderError(
            f"{path}: of no format that is known by its ending; tell one of {', '.join(FORMATS)}, "
            "or use read_csv for a table with names and units in its first line"
        )
    return FORMATS[format](path)


def _kind_of_csv(path: Path) -> str | None:
    text, _ = text_of(path, "csv")
    begin = text[:2000].lower()
    if "test_time_second" in begin or "test time / s" in begin:
        return "bdf_csv"
    if "m/z" in begin or "ion current" in begin:
        return "dems_csv"
    if "amplitude" in begin or begin.startswith("second,volt"):
        return "ultrasound_csv"
    if begin.startswith("#") or "x(minutes)" in begin:
        return "agilent_csv"
    return None
