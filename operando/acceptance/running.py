"""Experiments from the plan to their numbers, in a process of their own.

``python -m operando.acceptance.running NAME:SEED ... --data ... --truth ... --out FILE`` writes
what came of them as JSON; `operando.acceptance.campaign` starts these, two at a time.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from instruments.bench_file import BenchFile
from instruments.errors import UnsupportedTechniqueError
from operando.acceptance.experiments import EXPERIMENTS, Experiment
from operando.acceptance.identities import TRUTHS
from operando.acceptance.measures import Numbers, Outcome
from operando.acceptance.observations import OBSERVATIONS
from operando.analysis import Metric, metrics
from operando.analysis.accuracy import CurrentAccuracy
from operando.catalog import wait_until_ingested
from operando.configuration import ConfigurationError, load_bench, load_cell, load_protocol, names
from operando.runs import Run
from operando.session import RunFailedError, Session
from operando.simulation import SimulatedBench, SimulationError, served_for
from techniques import Cell, Protocol

# A run of a million rows is taken in within seconds; beside others it waits for its turn.
INGESTED_WITHIN_S = 600.0
FAULTS_FILE = "faults"
# Under this name stands the relative standard uncertainty of the current's gain.
CURRENT_GAIN_U = "current_gain_u"
# Makers' potentiostats, and the simulated bench each is taken from.
STANDARD_POTENTIOSTAT = "methodscript"
POTENTIOSTATS = {
    STANDARD_POTENTIOSTAT: "sim",
    "keithley": "sim-keithley",
    "rodeostat": "sim-rodeostat",
}
_RARER = ("dt_s", "de_v", "dq_mah_cm2", "di_ma_cm2", "edge_dt_s")


# Techniques that measure the same otherwise.
_SPECTRUM_AT_WILL = ("dummy_cell_ranges",)


class _MissingError(Exception):
    """A file, a cell or an instrument that the experiment needs is not there."""


def perform(
    experiment: Experiment,
    seed: int,
    folder: Path,
    truth: Path,
    potentiostat: str = STANDARD_POTENTIOSTAT,
    spectra: bool = True,
) -> Outcome:
    """Run an experiment against a simulated bench into a data folder and analyse it.

    Args:
        experiment: What is run.
        seed: Of the simulated cell and the errors of its instruments.
        folder: The data folder; its catalog service runs.
        truth: A new folder for what really happened.
        potentiostat: One of `POTENTIOSTATS`, which leads.
        spectra: Whether spectra are measured that the rest can do without.
    """
    begun = time.monotonic()
    failed, uid, exit_status = None, "", "success"
    try:
        protocol, cell = written(experiment, spectra=spectra)
        bench = _bench(experiment, potentiostat)
        uid = _run(experiment, bench, protocol, cell, seed, folder, truth)
    except UnsupportedTechniqueError as error:
        return Outcome(experiment.name, seed, refused=str(error))
    except _MissingError as error:
        return Outcome(experiment.name, seed, not_yet=str(error))
    except RunFailedError as error:
        failed, uid, exit_status = error.reason, error.uid, error.exit_status
    wait_until_ingested(folder, uid, timeout_s=INGESTED_WITHIN_S)
    run = Run.from_catalog(uid, folder)
    found = metrics(run)
    numbers = {name: _numbers(metric) for name, metric in found.items()}
    for name in experiment.observations:
        numbers |= OBSERVATIONS[name](run, found, failed, folder)
    for name in experiment.truths:
        numbers |= TRUTHS[name](run, found, truth)
    numbers[CURRENT_GAIN_U] = Numbers(CurrentAccuracy.from_start(run.start).gain)
    rows = len(run.streams["potentiostat"]) if "potentiostat" in run.streams else 0
    return Outcome(
        experiment.name,
        seed,
        uid,
        exit_status,
        time.monotonic() - begun,
        rows,
        numbers,
        failed=failed,
    )


def written(experiment: Experiment, *, spectra: bool = True) -> tuple[Protocol, Cell]:
    """Return the protocol and the cell with the changes that the experiment makes.

    Without ``spectra`` those are left out that the rest can do without: between half-cycles, at
    the end of a dummy cell's ranges, and where a rule would look at the cell.
    """
    for kind, name in (("protocol", experiment.protocol), ("cell", experiment.cell)):
        if name not in names(kind):  # type: ignore[arg-type]
            raise _MissingError(f"no {kind} file is called {name}")
    try:
        protocol, cell = load_protocol(experiment.protocol), load_cell(experiment.cell)
    except ConfigurationError as error:
        raise _MissingError(str(error)) from error
    document = protocol.model_dump(mode="json")
    document["technique"] |= experiment.technique
    if not spectra:
        document["technique"] = _without_spectra(document["technique"])
        document["rules"] = _rules_without_spectra(document["rules"])
    document["every"] |= experiment.every
    if experiment.temperatures:
        document["temperatures"] |= experiment.temperatures
    if experiment.rarer != 1.0:
        document = _rarer(document, experiment.rarer)
    changed = cell.model_dump(mode="json") | dict(experiment.cell_fields)
    return Protocol.model_validate(document), Cell.model_validate(changed)


def _without_spectra(document: Any) -> Any:
    """Return a technique without the spectra that it can do without."""
    if isinstance(document, Mapping):
        found = {key: _without_spectra(value) for key, value in document.items()}
        between = found.get("between")
        if isinstance(between, dict) and between.get("type") == "impedance_spectrum":
            found["between"] = None
        if found.get("type") in _SPECTRUM_AT_WILL:
            found["spectrum"] = None
        return found
    return (
        [_without_spectra(value) for value in document] if isinstance(document, list) else document
    )


def _rules_without_spectra(rules: Any) -> Any:
    """Return rules that measure no spectrum; those that did nothing else are left out."""
    if rules is None:
        return None
    kept = [
        rule | {"then": [one for one in rule["then"] if one["do"] != "impedance_spectrum"]}
        for rule in rules
    ]
    return [rule for rule in kept if rule["then"]]


def _rarer(document: Any, times: float) -> Any:
    """Return a protocol whose rows come so many times rarer."""
    if isinstance(document, Mapping):
        if "edge_dt_s" in document:
            changed = {
                key: value * times if key in _RARER and value is not None else value
                for key, value in document.items()
            }
            return changed
        return {key: _rarer(value, times) for key, value in document.items()}
    if isinstance(document, list):
        return [_rarer(value, times) for value in document]
    return document


def _served(bench: BenchFile, instruments: frozenset[str]) -> list[str]:
    """Return what the simulator must serve: a board switches lamp and chromatograph."""
    served = set(served_for(bench.addresses()))
    if instruments & {"gas_chromatograph", "camera"}:
        served.add("relay_board")
    return sorted(served)


def _bench(experiment: Experiment, potentiostat: str) -> BenchFile:
    """Return the simulated bench as far as it takes part, led by a potentiostat."""
    bench = load_bench("sim")
    absent = experiment.instruments - set(bench.instruments)
    if absent:
        raise _MissingError(f"the simulated bench has no {', '.join(sorted(absent))}")
    leader = load_bench(POTENTIOSTATS[potentiostat]).instruments["potentiostat"]
    with_leader = {**bench.instruments, "potentiostat": leader}
    changed = bench.model_copy(update={"instruments": with_leader})
    return changed.only(set(experiment.instruments))


def _run(
    experiment: Experiment,
    bench: BenchFile,
    protocol: Protocol,
    cell: Cell,
    seed: int,
    folder: Path,
    truth: Path,
) -> str:
    with tempfile.TemporaryDirectory(prefix="operando-sim-") as published:
        directory = Path(published)
        if experiment.faults:
            lines = [json.dumps(dict(fault)) + "\n" for fault in experiment.faults]
            (directory / FAULTS_FILE).write_text("".join(lines))
        try:
            simulated = SimulatedBench(
                experiment.preset,
                factor=experiment.factor,
                seed=seed,
                instruments=_served(bench, experiment.instruments),
                directory=directory,
                tolerance_s=protocol.every.tolerance_s,
                truth=truth,
            )
            with simulated, Session(bench, data_dir=folder, catalog=False) as session:
                return session.run_protocol(protocol, cell=cell)
        except SimulationError as error:
            if "invalid choice" in str(error) or "unknown" in str(error):
                raise _MissingError(f"no simulated cell is called {experiment.preset}") from error
            raise


def _numbers(metric: Metric) -> Numbers:
    return Numbers(metric.value, metric.uncertainty, metric.reason)


def read_outcomes(text: str) -> list[Outcome]:
    """Return what `main` wrote: a line for each seed."""
    found = []
    for line in text.splitlines():
        document = json.loads(line)
        document["numbers"] = {
            name: Numbers(**numbers) for name, numbers in document["numbers"].items()
        }
        found.append(Outcome(**document))
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run experiments, one after the other, and write what came of each, a line for each."""
    parser = argparse.ArgumentParser(prog="python -m operando.acceptance.running")
    parser.add_argument("experiments", nargs="+", type=_named, metavar="NAME:SEED")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--potentiostat", choices=POTENTIOSTATS, default=STANDARD_POTENTIOSTAT)
    parser.add_argument("--without-spectra", action="store_true")
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)  # that no driver was tried on hardware stands in the table
    for experiment, seed in options.experiments:
        truth = options.truth / f"{experiment.name}-{seed}"
        try:
            outcome = perform(
                experiment,
                seed,
                options.data,
                truth,
                options.potentiostat,
                not options.without_spectra,
            )
        except Exception as error:  # the others share the process, and are none the worse for it
            traceback.print_exc()
            why = f"{type(error).__name__}: {error}"
            outcome = Outcome(experiment.name, seed, failed=why)
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome), allow_nan=False) + "\n")
    return 0


def _named(text: str) -> tuple[Experiment, int]:
    name, _, seed = text.partition(":")
    if name not in EXPERIMENTS:
        raise argparse.ArgumentTypeError(f"no experiment is called {name!r}")
    return EXPERIMENTS[name], int(seed or 0)


if __name__ == "__main__":
    sys.exit(main())
