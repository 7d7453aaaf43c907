"""The sidecar of a table in Battery Data Format: a JSON-LD document that describes it."""

from collections.abc import Mapping
from typing import Any, Literal

from operando.analysis import METRICS, Metric
from operando.export import emmo
from operando.export._bdf_columns import COLUMNS, IRI, Column
from operando.export._bdf_rows import BdfRows
from operando.export._told import (
    amended,
    cell_of,
    chain,
    ended,
    is_whole,
    iso,
    jsonable,
    now,
    started_s,
    status,
    summary,
    techniques_of,
    title,
)
from operando.runs import Run
from operando.terminals import Orientation
from techniques import Cell


def sidecar_of(
    run: Run, rows: BdfRows, table_name: str, numbers: Mapping[str, Metric]
) -> dict[str, Any]:
    """Return the JSON-LD document beside a table: test object, sign, columns, metrics, origin."""
    cell = cell_of(run)
    lies = rows.orientation
    told = summary(run)
    techniques = emmo.technique_terms(techniques_of(run))
    test: dict[str, Any] = {
        "@type": ["CyclingTest", *techniques],
        "hasOutput": [_metric(name, one) for name, one in numbers.items() if one.value is not None],
    }
    if cell is not None:
        test["hasTestObject"] = _test_object(cell, lies)
    document: dict[str, Any] = {
        "@context": {
            "schema": "https://schema.org/",
            "csvw": "http://www.w3.org/ns/csvw#",
            "prov": "http://www.w3.org/ns/prov#",
            "bdf": IRI,
            "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
            **emmo.jsonld_context(),
        },
        "@id": f"urn:uuid:{run.uid}",
        "@type": "schema:Dataset",
        "schema:name": title(run),
        "schema:description": _description(run, rows),
        "schema:identifier": run.uid,
        "schema:dateCreated": iso(started_s(run)),
        "schema:dateModified": now(),
        "schema:creativeWorkStatus": "complete" if is_whole(run) else "incomplete",
        "schema:measurementTechnique": techniques,
        "schema:temporalCoverage": f"{iso(started_s(run))}/{ended(run) or '..'}",
        "schema:variableMeasured": [_variable(COLUMNS[label]) for label in rows.columns],
        "schema:distribution": {
            "@type": "schema:DataDownload",
            "schema:contentUrl": table_name,
            "schema:encodingFormat": (
                "text/csv" if table_name.endswith("csv") else "application/vnd.apache.parquet"
            ),
        },
        "schema:about": test,
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "schema:name": title(run),
            "prov:startedAtTime": told["start_time"],
            "prov:endedAtTime": told["end_time"],
            "schema:actionStatus": status(run),
            "schema:error": told["reason"],
            "schema:hasPart": [{"@id": f"urn:uuid:{uid}"} for uid in chain(run)],
            "schema:instrument": _instruments(run),
            "prov:wasAssociatedWith": [
                {
                    "@type": ["prov:SoftwareAgent", "schema:SoftwareApplication"],
                    "schema:name": name,
                    "schema:softwareVersion": version,
                }
                for name, version in _versions(run).items()
            ],
        },
        # For programs that do not speak JSON-LD: the same decisions as plain values.
        "schema:additionalProperty": [
            _plain("run", {"@type": "@json", "@value": jsonable(told)}),
            _plain("positive_terminal", lies.positive),
            _plain("current_sign", lies.sign, "BDF current = sign x recorded (IUPAC) current"),
            _plain("voltage_sign", lies.sign, "BDF voltage = sign x recorded E_WE - E_other"),
            _plain("charging_is", lies.charging, lies.reason),
            _plain("rows_without_time", rows.without_time, "left out of the table"),
            _plain("rows_moved", rows.moved, "came with a smaller time than the row before them"),
            _plain("instrument_s_per_host_s", rows.seconds_per_host_second),
            *(
                _plain(name, {"@type": "@json", "@value": jsonable(value)})
                for name, value in {
                    "technique": run.start.get("technique"),
                    **amended(run),
                }.items()
            ),
        ],
    }
    return _without_none(document)


def _description(run: Run, rows: BdfRows) -> str:
    said = [
        f"{title(run)}, run {run.uid}.",
        f"Positive current charges the test object; here that is {rows.orientation.charging} of "
        f"the metal electrode ({rows.orientation.reason}).",
    ]
    if len(chain(run)) > 1:
        said.append(f"One experiment in {len(chain(run))} runs: {', '.join(chain(run))}.")
    said += _told_changes(run)
    said += run.notes
    if not run.complete:
        said.append("INCOMPLETE: the run had no end when it was exported.")
    if run.damage:
        said.append("INCOMPLETE: its journal is damaged.")
    if "Unix Time / s" not in rows.columns:
        said.append(
            f"Unix Time is left out: {rows.seconds_per_host_second:.4g} s of the instrument passed "
            "in one second of the computer, as with a simulated cell."
        )
    if cell_of(run) is None:
        said.append("No capacities: the start document describes no cell.")
    said.append("Ambient temperature was not recorded.")
    return " ".join(said)


def _told_changes(run: Run) -> list[str]:
    changed = run.asked[1:]
    if not changed:
        return []
    return [f"Its protocol was changed while it ran: {'; '.join(one.told for one in changed)}."]


def _plain(name: str, value: object, description: str | None = None) -> dict[str, Any]:
    return {
        "@type": "schema:PropertyValue",
        "schema:name": name,
        "schema:value": value,
        "schema:description": description,
    }


def _variable(column: Column) -> dict[str, Any]:
    return {
        "@type": "schema:PropertyValue",
        "schema:name": column.label,
        "schema:alternateName": column.notation,
        "schema:propertyID": None if column.own else {"@id": f"bdf:{column.notation}"},
        "schema:unitText": column.unit or None,
        "schema:description": column.meaning,
    }


def _metric(name: str, metric: Metric) -> dict[str, Any]:
    definition = METRICS[name]
    term = emmo.METRICS.get(name)
    node: dict[str, Any] = {
        "@type": ["schema:PropertyValue", *([term] if term else [])],
        "schema:name": name,
        "schema:description": definition.meaning,
        "schema:citation": definition.source,
        "schema:unitText": metric.unit,
        "hasMeasurementUnit": _unit(metric.unit),
        "schema:disambiguatingDescription": metric.reason,
        # A JSON literal: JSON-LD would drop the nulls that keep a list's places.
        "schema:value": _literal(metric.value),
    }
    if not isinstance(metric.value, list):
        node["hasNumericalPart"] = {"@type": "RealData", "hasNumericalValue": metric.value}
    if metric.uncertainty is not None:
        node["hasMetrologicalUncertainty"] = {
            "@type": ["MetrologicalUncertainty", "schema:PropertyValue"],
            "schema:name": "standard uncertainty, k = 1",
            "schema:value": _literal(metric.uncertainty),
            "schema:unitText": metric.unit,
        }
    if definition.shape != "scalar":
        node["schema:alternateName"] = f"{name}, {definition.shape}"
    return node


def _literal(value: object) -> object:
    return {"@type": "@json", "@value": value} if isinstance(value, list) else value


def _test_object(cell: Cell, lies: Orientation) -> dict[str, Any]:
    def electrode(which: Literal["WE", "CE"]) -> dict[str, Any]:
        one = cell.working_electrode if which == "WE" else cell.counter_electrode
        terminal = "PositiveElectrode" if which == lies.positive else "NegativeElectrode"
        kind = "WorkingElectrode" if which == "WE" else "CounterElectrode"
        return {
            "@type": [kind] if cell.reference_electrode else [kind, terminal],
            "schema:name": one.material,
            "hasActiveMaterial": {
                "@type": emmo.METALS[one.metal],
                "schema:name": one.metal,
            }
            if one.metal
            else None,
            "hasCoating": {"@type": "Coating", "schema:name": one.coating} if one.coating else None,
            "hasProperty": [
                _property("ElectrodeGeometricSurfaceArea", one.area_cm2, "cm2"),
                _property("Thickness", one.thickness_um, "um"),
                _property("Mass", one.mass_mg, "mg"),
                _property("AreicCapacity", one.predeposited_mah_cm2, "mAh/cm2", "predeposited"),
            ],
        }

    kind = "ElectrochemicalHalfCell" if cell.reference_electrode else "ElectrochemicalCell"
    return {
        "@type": [kind, "schema:Product"],
        "schema:name": cell.cell_id,
        "schema:identifier": cell.cell_id,
        "schema:description": cell.notes,
        "schema:productionDate": None if cell.assembled_at is None else str(cell.assembled_at),
        "hasWorkingElectrode": electrode("WE"),
        "hasCounterElectrode": electrode("CE"),
        "hasReferenceElectrode": {
            "@type": "ReferenceElectrode",
            "schema:name": cell.reference_electrode,
        }
        if cell.reference_electrode
        else None,
        "hasElectrolyte": {
            "@type": "Electrolyte",
            "schema:name": cell.electrolyte.composition,
            "hasProperty": [_property("Volume", cell.electrolyte.volume_ul, "uL")],
        },
        "hasSeparator": {"@type": "Separator", "schema:name": cell.separator}
        if cell.separator
        else None,
        "hasProperty": [_property("Pressure", cell.pressure_kpa, "kPa", "stack pressure")],
        "schema:additionalProperty": [
            _plain("metal", cell.metal),
            _plain("metal_electrode", cell.metal_electrode),
            _plain("atmosphere", cell.atmosphere),
            _plain("deaerated", cell.deaerated),
        ],
    }


def _property(
    term: str, value: float | None, unit: str, name: str | None = None
) -> dict[str, Any] | None:
    if value is None:
        return None
    return {
        "@type": term,
        "schema:name": name,
        "hasNumericalPart": {"@type": "RealData", "hasNumericalValue": value},
        "hasMeasurementUnit": _unit(unit),
        "schema:unitText": unit,
    }


def _unit(unit: str) -> dict[str, str] | None:
    known = emmo.UNITS.get(unit)
    return {"@id": emmo.iri(known)} if known else None


def _instruments(run: Run) -> list[dict[str, Any]]:
    bench = run.start.get("bench") or {}
    return [
        {
            "@type": "schema:Product",
            "schema:name": name,
            "schema:model": (entry.get("identity") or {}).get("model"),
            "schema:serialNumber": (entry.get("identity") or {}).get("serial_number"),
            "schema:version": (entry.get("identity") or {}).get("firmware"),
        }
        for name, entry in (bench.get("instruments") or {}).items()
    ]


def _versions(run: Run) -> dict[str, str]:
    versions = {str(name): str(one) for name, one in (run.start.get("versions") or {}).items()}
    own = run.start.get("operando_version")
    return {"operando": str(own), **versions} if own else versions


def _without_none(value: Any) -> Any:
    """Return ``value`` without absent entries; literals of JSON keep their nulls."""
    if isinstance(value, dict):
        if value.get("@type") == "@json":
            return value
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_none(one) for one in value if one is not None]
    return value
