"""RO-Crate: the run itself, its raw frames and what was made of it, with who, when and how.

The crate's ``data`` folder is a data folder: this program opens the run in it.
"""

import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

import operando
from operando.analysis import METRICS, Metric, metrics
from operando.export._output import ExportError, staging
from operando.export._told import (
    cell_of,
    chain,
    ended,
    is_whole,
    iso,
    jsonable,
    now,
    sample_name,
    started_s,
    status,
    title,
)
from operando.export.bdf import COLUMNS, DEVICE, export_bdf
from operando.plots import run_figure
from operando.report import json_report
from operando.runs import Run

SPECIFICATION = "https://w3id.org/ro/crate/1.3"
DESCRIPTOR = "ro-crate-metadata.json"
DATA = "data"
LICENSES = "https://spdx.org/licenses/"
ENDED_AS = {"success": "Completed", "incomplete": "Active"}
# What is compressed already gains nothing.
STORED = (".h5", ".png", ".parquet", ".zip")


@dataclass(frozen=True)
class Author:
    """Who made the data.

    Attributes:
        name: As in a paper.
        orcid: The ORCID identifier, ``0000-0002-1825-0097``; None if there is none.
        affiliation: The institution; None if it is not told.
    """

    name: str
    orcid: str | None = None
    affiliation: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Author":
        """Read ``Name``, ``Name, ORCID`` or ``Name, ORCID, affiliation``.

        Raises:
            ValueError: there is no name, or the ORCID identifier is not one.
        """
        name, *more = [part.strip() for part in text.split(",")]
        if not name:
            raise ValueError(f"{text!r} has no name; give 'Ada Lovelace, 0000-0002-1825-0097'")
        orcid = None
        if more and re.search(r"\d{4}-\d{4}", more[0]):
            orcid = more.pop(0).removeprefix("https://orcid.org/")
            if not _is_orcid(orcid):
                raise ValueError(f"{orcid} is no ORCID identifier: its check digit is wrong")
        return cls(name, orcid, ", ".join(more) or None)


def _is_orcid(text: str) -> bool:
    """Return whether the last character is the check digit of the others (ISO 7064, 11-2)."""
    if not re.fullmatch(r"\d{4}-\d{4}-\d{4}-\d{3}[\dX]", text):
        return False
    total = 0
    for digit in text.replace("-", "")[:-1]:
        total = (total + int(digit)) * 2
    expected = (12 - total % 11) % 11
    return text[-1] == ("X" if expected == 10 else str(expected))


@dataclass
class _Crate:
    """The entities of a crate as they are gathered."""

    folder: Path
    parts: list[str] = field(default_factory=list)
    entities: list[dict[str, Any]] = field(default_factory=list)

    def add_file(
        self, name: str, title: str, description: str, kind: str, **more: Any
    ) -> dict[str, str]:
        """Describe a file that is in the folder; return a reference to it."""
        path = self.folder / name
        identifier = quote(name)
        self.parts.append(identifier)
        self.entities.append(
            {
                "@id": identifier,
                "@type": "File",
                "name": title,
                "description": description,
                "encodingFormat": kind,
                "contentSize": str(path.stat().st_size),
                **more,
            }
        )
        return {"@id": identifier}

    def add(self, entity: dict[str, Any]) -> dict[str, str]:
        """Add a contextual entity once; return a reference to it."""
        if all(one["@id"] != entity["@id"] for one in self.entities):
            self.entities.append(entity)
        return {"@id": entity["@id"]}


def export_rocrate(
    run: Run,
    output: Path | str,
    *,
    data_dir: Path,
    journals: Sequence[Path],
    license: str | None = None,
    authors: Sequence[Author] = (),
    institution: str | None = None,
    number: int = 1,
    force: bool = False,
    numbers: Mapping[str, Metric] | None = None,
) -> list[Path]:
    """Write a research object crate: a folder, or one ``.zip``.

    It holds the journals, the files of frames, spectra and traces as they were recorded, the
    table and its sidecar in Battery Data Format, the report, the figure, protocol and cell.

    Args:
        run: The run, or chain of runs, finished or not.
        output: The folder to make, or a file that ends in ``.zip``.
        data_dir: The data folder of the run.
        journals: The journals of the run, or of all runs of the chain.
        license: An SPDX identifier, ``CC-BY-4.0``, or an address; by default all rights reserved.
        authors: Who made the data.
        institution: As for `export_bdf`.
        number: As for `export_bdf`.
        force: Replace what exists.
        numbers: The run's metrics if they are known already.

    Returns:
        The folder or the file.

    Raises:
        ExportError: the output exists, or it cannot be written.
    """
    output = Path(output).expanduser().absolute()
    numbers = metrics(run) if numbers is None else numbers
    zipped = output.suffix == ".zip"
    with staging(output.parent, force=force) as stage:
        place = stage.path(output.name)
        folder = place.with_name("crate") if zipped else place
        folder.mkdir()
        crate = _Crate(folder)
        results = [
            *_journals(crate, run, data_dir, journals),
            *_assets(crate, run, data_dir),
            *_table(crate, run, numbers, institution, number),
            *_made(crate, run, numbers),
        ]
        used = list(_asked(crate, run))
        _describe(crate, run, license, authors, used, results, numbers)
        if zipped:
            _zip(folder, place)
    return [output]


# -- what is in it


def _inside(data_dir: Path, path: Path) -> str:
    """Return where a file of the data folder lies in the crate."""
    try:
        return f"{DATA}/{path.resolve().relative_to(data_dir.resolve()).as_posix()}"
    except ValueError:
        return f"{DATA}/elsewhere/{path.name}"


def _copied(crate: _Crate, data_dir: Path, path: Path) -> str:
    name = _inside(data_dir, path)
    target = crate.folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, target)
    return name


def _journals(
    crate: _Crate, run: Run, data_dir: Path, journals: Sequence[Path]
) -> Iterator[dict[str, str]]:
    for path in journals:
        yield crate.add_file(
            _copied(crate, data_dir, path),
            f"Journal of run {path.stem}",
            "Every document of the run in the order in which it was emitted: records of length, "
            "CRC-32 and msgpack, after one line that names the format and its version.",
            "application/octet-stream",
            identifier=path.stem,
        )


def _assets(crate: _Crate, run: Run, data_dir: Path) -> Iterator[dict[str, str]]:
    kept: dict[Path, list[str]] = {}
    for stream in run.streams.values():
        for key, asset in stream.assets.items():
            # A journal can name any file; what goes out is what holds rows of this run.
            for part in asset.parts_there():
                keys = kept.setdefault(part.path, [])
                if key not in keys:
                    keys.append(key)
    for path, keys in kept.items():
        if path.exists():
            yield crate.add_file(
                _copied(crate, data_dir, path),
                f"Raw data: {', '.join(keys)}",
                "HDF5 as it was recorded; images are compressed with zstd (filter 32015).",
                "application/x-hdf5",
            )


def _table(
    crate: _Crate,
    run: Run,
    numbers: Mapping[str, Metric],
    institution: str | None,
    number: int,
) -> Iterator[dict[str, str]]:
    stream = run.streams.get(DEVICE)
    if stream is None or not len(stream):
        return
    table, sidecar = export_bdf(
        run, crate.folder / "bdf", institution=institution, number=number, numbers=numbers
    )
    yield crate.add_file(
        f"bdf/{table.name}",
        "The potentiostat's rows and spectra as one table",
        "Battery Data Format: positive current charges the test object. What charging means for "
        "this cell is told in the sidecar.",
        "text/csv",
        conformsTo={"@id": "https://w3id.org/battery-data-alliance/ontology/battery-data-format"},
        variableMeasured=[label for label in _header(table) if label in COLUMNS],
    )
    crate.add(
        {
            "@id": "https://w3id.org/battery-data-alliance/ontology/battery-data-format",
            "@type": "CreativeWork",
            "name": "Battery Data Format",
            "url": "https://w3id.org/battery-data-alliance/ontology/battery-data-format",
        }
    )
    yield crate.add_file(
        f"bdf/{sidecar.name}",
        "What the table means",
        "JSON-LD with terms of EMMO and BDF: test object, sign, columns, metrics, origin.",
        "application/ld+json",
    )


def _header(table: Path) -> list[str]:
    with open(table, encoding="utf-8") as file:
        return file.readline().strip().split(",")


def _made(crate: _Crate, run: Run, numbers: Mapping[str, Metric]) -> Iterator[dict[str, str]]:
    (crate.folder / "report.json").write_text(json_report(run, numbers) + "\n", "utf-8")
    yield crate.add_file(
        "report.json",
        "Metrics",
        "Every metric of the run with unit, standard uncertainty (k = 1) and reason.",
        "application/json",
    )
    run_figure(run, numbers).savefig(crate.folder / "figure.png", dpi=150)
    yield crate.add_file("figure.png", "Figure", "The run at a glance.", "image/png")


def _asked(crate: _Crate, run: Run) -> Iterator[dict[str, str]]:
    """Write protocol and cell as files that can be run again."""
    cell = cell_of(run)
    if cell is not None:
        told = cell.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        _yaml(crate.folder / "cell.yaml", told)
        yield crate.add_file(
            "cell.yaml", f"Cell {cell.cell_id}", "The log book's entry.", "application/yaml"
        )
    asked = [one for one in run.asked if one.given]
    every = run.start.get("every")  # no change alters it
    for number, one in enumerate(asked, 1):
        limits = {key: value for key, value in one.own_limits.items() if value is not None}
        given = {"every": every, **(one.given or {}), "limits": limits or None}
        told = {key: value for key, value in given.items() if value is not None}
        told["cell"] = "cell.yaml"
        name = "protocol.yaml" if number == 1 else f"protocol-{number}.yaml"
        _yaml(crate.folder / name, jsonable(told))
        described = "What was asked for, as operando run takes it."
        if len(asked) > 1:
            described = f"What was asked for, as operando run takes it: {one.told}."
        title = "Protocol" if number == 1 else f"Protocol, change {number - 1}"
        yield crate.add_file(name, title, described, "application/yaml")


def _yaml(path: Path, value: object) -> None:
    path.write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), "utf-8")


# -- what is said of it


def _describe(
    crate: _Crate,
    run: Run,
    license: str | None,
    authors: Sequence[Author],
    used: list[dict[str, str]],
    results: list[dict[str, str]],
    numbers: Mapping[str, Metric],
) -> None:
    people = [_person(crate, author) for author in authors]
    begun, end = iso(started_s(run)), ended(run)
    software = crate.add(
        {
            "@id": f"#operando-{operando.__version__}",
            # Not a SoftwareApplication: that must have a web page.
            "@type": "CreativeWork",
            "name": "operando",
            "version": operando.__version__,
            "description": "Operando plating and stripping of metal anodes.",
        }
    )
    sample = crate.add(_sample(run))
    experiment = crate.add(
        {
            "@id": f"urn:uuid:{run.uid}",
            "@type": "CreateAction",
            "name": title(run),
            "description": _sentence(run),
            "identifier": run.uid,
            "startTime": begun,
            "endTime": end,
            "actionStatus": crate.add(_ended_as(run)),
            "error": None if run.stop is None else run.stop.get("reason"),
            "agent": people,
            "instrument": [software, *_instruments(crate, run)],
            "object": [sample, *used],
            "result": results,
        }
    )
    root: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "name": title(run),
        "description": _sentence(run),
        "identifier": crate.add(
            {
                "@id": "#uid",
                "@type": "PropertyValue",
                "name": "uid of the run",
                "propertyID": "uid",
                "value": run.uid,
            }
        ),
        "dateCreated": begun,
        "datePublished": now(),
        "license": _license(crate, license),
        "author": people,
        "publisher": [
            {"@id": one["@id"]} for one in crate.entities if one["@type"] == "Organization"
        ],
        "creativeWorkStatus": "complete" if is_whole(run) else "incomplete",
        "about": [sample],
        "mentions": [experiment],
        "variableMeasured": [
            crate.add(
                {
                    "@id": f"#metric-{name}",
                    "@type": "PropertyValue",
                    "name": name,
                    "value": metric.value,
                    "unitText": metric.unit,
                    "description": METRICS[name].meaning,
                }
            )
            for name, metric in numbers.items()
            if metric.value is not None and not isinstance(metric.value, list)
        ],
        "hasPart": [{"@id": part} for part in crate.parts],
    }
    descriptor = {
        "@id": DESCRIPTOR,
        "@type": "CreativeWork",
        "name": "What is in this crate",
        "about": {"@id": "./"},
        "conformsTo": {"@id": SPECIFICATION},
    }
    crate.add(
        {
            "@id": SPECIFICATION,
            "@type": "CreativeWork",
            "name": "RO-Crate 1.3",
            "url": SPECIFICATION,
        }
    )
    graph = [_compact(jsonable(one)) for one in (descriptor, root, *crate.entities)]
    text = json.dumps(
        {"@context": f"{SPECIFICATION}/context", "@graph": graph},
        indent=1,
        allow_nan=False,
        ensure_ascii=False,
    )
    (crate.folder / DESCRIPTOR).write_text(text + "\n", "utf-8")


def _compact(entity: dict[str, Any]) -> dict[str, Any]:
    """Return an entity without what is empty, and without lists of one."""
    return {
        key: value[0] if isinstance(value, list) and len(value) == 1 else value
        for key, value in entity.items()
        if value not in (None, "", [])
    }


def _sentence(run: Run) -> str:
    rows = ", ".join(f"{len(stream)} {name}" for name, stream in run.streams.items())
    told = f"{title(run)}: {rows or 'no rows'}; it ended as {status(run)}."
    if len(chain(run)) > 1:
        told += f" One experiment in {len(chain(run))} runs."
    if not run.complete:
        told += " INCOMPLETE: the run had no end when the crate was made."
    told += "".join(f" INCOMPLETE: {sentence}." for sentence in run.damage)
    missing = [
        key
        for stream in run.streams.values()
        for key, asset in stream.assets.items()
        if len(asset) < asset.announced
    ]
    if missing:
        told += f" Some raw data were announced and are not there: {', '.join(missing)}."
    return told


def _sample(run: Run) -> dict[str, Any]:
    cell = cell_of(run)
    described = None
    if cell is not None:
        described = (
            f"{cell.working_electrode.material} || {cell.counter_electrode.material}, "
            f"{cell.area_cm2:g} cm2, in {cell.electrolyte.composition}"
        )
    return {
        "@id": "#sample",
        "@type": "Product",
        "name": sample_name(run) or "unknown sample",
        "description": described,
    }


def _instruments(crate: _Crate, run: Run) -> list[dict[str, str]]:
    bench = run.start.get("bench") or {}
    found = []
    for name, told in (bench.get("instruments") or {}).items():
        identity = told.get("identity") or {}
        found.append(
            crate.add(
                {
                    "@id": f"#instrument-{quote(str(name))}",
                    "@type": "IndividualProduct",
                    "name": str(name),
                    "model": identity.get("model"),
                    "serialNumber": identity.get("serial_number"),
                    "description": ", ".join(
                        f"{key} {value}" for key, value in identity.items() if value
                    ),
                }
            )
        )
    return found


def _ended_as(run: Run) -> dict[str, str]:
    name = ENDED_AS.get(status(run), "Failed") + "ActionStatus"
    return {
        "@id": f"http://schema.org/{name}",
        "@type": "ActionStatusType",
        "name": name,
        "description": status(run),
    }


def _person(crate: _Crate, author: Author) -> dict[str, str]:
    affiliation = None
    if author.affiliation:
        affiliation = crate.add(
            {
                "@id": f"#{quote(author.affiliation)}",
                "@type": "Organization",
                "name": author.affiliation,
            }
        )
    identifier = (
        f"https://orcid.org/{author.orcid}" if author.orcid else f"#person-{quote(author.name)}"
    )
    return crate.add(
        {"@id": identifier, "@type": "Person", "name": author.name, "affiliation": affiliation}
    )


def _license(crate: _Crate, text: str | None) -> dict[str, str]:
    if text is None:
        return crate.add(
            {
                "@id": "#all-rights-reserved",
                "@type": "CreativeWork",
                "name": "All rights reserved",
                "description": "No licence was given when the crate was made; ask the authors.",
            }
        )
    address = text if "://" in text else LICENSES + quote(text)
    return crate.add({"@id": address, "@type": "CreativeWork", "name": text, "description": text})


def check_license(text: str) -> str:
    """Return a licence's identifier or address; raises ExportError if it is neither."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*|https?://\S+", text):
        return text
    raise ExportError(f"--license {text!r}: give an SPDX identifier like CC-BY-4.0, or an address")


def _zip(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                how = zipfile.ZIP_STORED if path.suffix in STORED else zipfile.ZIP_DEFLATED
                archive.write(path, path.relative_to(folder).as_posix(), how)
