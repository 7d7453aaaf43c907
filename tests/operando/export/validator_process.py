"""Run a format's own validator on a file and print what it says, as JSON.

Runs in ``.venv/validators``: validator_process.py bdf|jsonld|nexus|rocrate PATH [SCRATCH]
"""

import contextlib
import io
import json
import sys
import warnings
from importlib.metadata import distribution
from pathlib import Path
from typing import Any


def bdf(path: str, scratch: str) -> dict[str, Any]:
    import bdf

    report = bdf.validate(path, report=False, raise_on_error=False)
    if not report["ok"]:
        return {"ok": False, "detail": report.get("detail"), "missing": report.get("missing")}
    table = bdf.read(path)
    return {
        "ok": True,
        "missing": list(report.get("missing", [])),
        "renamed": list(report.get("legacy_labels", [])),
        "own": list(report.get("extras", [])),
        "rows": int(report.get("n_rows", 0)),
        "monotone": bool(report["time_stats"]["monotonic"]),
        "last": {name: str(value) for name, value in table.iloc[-1].items()},
    }


def jsonld(path: str, scratch: str) -> dict[str, Any]:
    from rdflib import Graph

    graph = Graph().parse(path, format="json-ld")
    return {"triples": [[str(part) for part in triple] for triple in graph]}


def nexus(path: str, scratch: str) -> dict[str, Any]:
    import h5py
    from nexusformat.nexus.validate import logger, validate_file
    from silx.io.nxdata import NXdata, get_default

    said = []
    logger.handlers[:] = []
    logger.handle = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    found, errors = validate_file(path)
    with h5py.File(path) as file:
        drawn = get_default(file)
        shown = {}
        for group in file["entry"].values():
            if group.attrs.get("NX_class") == "NXdata":
                data = NXdata(group)
                shown[group.name] = {"valid": bool(data.is_valid), "issues": list(data.issues)}
                if data.is_valid:
                    kinds = ("is_curve", "is_image", "is_stack")
                    shown[group.name] |= {
                        "shape": list(data.signal.shape),
                        "kind": [kind for kind in kinds if getattr(data, kind)],
                    }
        default = None
        if drawn is not None:
            default = {
                "signal": drawn.signal_dataset_name,
                "axes": list(drawn.axes_dataset_names),
                "also": list(drawn.auxiliary_signals_dataset_names),
                "values": [float(value) for value in drawn.signal[:3]],
            }
    return {"warnings": found, "errors": errors, "said": said, "default": default, "data": shown}


def rocrate(path: str, scratch: str) -> dict[str, Any]:
    from requests_cache import CachedResponse, CachedSession
    from requests_cache.models import CachedRequest
    from rocrate_validator import models, services

    # The context of the specification comes from a package: no network.
    packaged = Path(str(distribution("rocrate").locate_file("rocrate/data/ro-crate.jsonld")))
    context = packaged.read_bytes()
    address = json.loads(context)["@id"]
    with CachedSession(scratch, backend="sqlite", expire_after=-1) as session:
        session.cache.save_response(
            CachedResponse(
                content=context,
                status_code=200,
                url=address,
                headers={"Content-Type": "application/ld+json"},
                request=CachedRequest(method="GET", url=address, headers={}),
            )
        )
    settings = services.ValidationSettings(
        rocrate_uri=path,
        profile_identifier=address.removesuffix("/context")
        .rpartition("/")[2]
        .join(("ro-crate-", "")),
        offline=True,
        cache_path=Path(scratch),
        requirement_severity=models.Severity.RECOMMENDED,
    )
    issues = services.validate(settings).get_issues()
    told: dict[str, list[str]] = {"REQUIRED": [], "RECOMMENDED": []}
    for issue in issues:
        told[issue.severity.name].append(str(issue.message))
    return {"profile": settings.profile_identifier, **told}


if __name__ == "__main__":
    validate = {"bdf": bdf, "jsonld": jsonld, "nexus": nexus, "rocrate": rocrate}[sys.argv[1]]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        result = validate(sys.argv[2], sys.argv[3])
    json.dump(result, sys.stdout)
