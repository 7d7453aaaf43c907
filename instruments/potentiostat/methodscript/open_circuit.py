"""Write an open circuit, or a rest, as MethodSCRIPT."""

from instruments.potentiostat.contract import REST
from instruments.potentiostat.methodscript.script import (
    Due,
    Script,
    literal,
    seconds,
    unhurried,
    volts,
)
from techniques import OpenCircuit


def open_circuit(script: Script, step: OpenCircuit) -> None:
    """Write an open circuit: its rows, and its end when the potential drifts no more."""
    interval, run = script.timing(step.duration_s, unhurried(step.record))
    script.add(f"# open circuit, {step.duration_s:g} s", "cell_off", "set_pgstat_mode 3")
    script.bandwidth(interval)
    script.potential_range()
    script.header("open_circuit", REST, 0.0, step.record.dt_s + interval, step.duration_s)
    dt_s, due = step.record.dt_s, Due.of_potential(step.record)
    script.start_recording(step.record, interval, dt_s, due)
    script.count_rows(script.most_rows(step.record, dt_s, step.duration_s, interval, due))
    if step.drift_below_v_s is not None:
        # No cell is at 1 kV: the first comparison only sets the mark.
        script.add("store_var mark 1k ab", "store_var win 0 eb")
    script.measure(f"meas_loop_ocp p {literal(interval)} {literal(run)}")
    script.add("timer_get t")
    if step.drift_below_v_s is not None:
        _drift(script, step.drift_below_v_s, step.drift_window_s)
    script.record_when_due(step.record, interval, dt_s, script.names("p"), due)
    script.add("endloop")
    script.last_row(script.names("p"))
    if len(script.blocks) == 1 and script.depth == 0:
        script.reference_must_be_there()


def _drift(script: Script, below_v_s: float, window_s: float) -> None:
    change = volts(below_v_s * window_s)
    script.add(
        "if t >= win",
        "copy_var p diff",
        "sub_var diff mark",
        f"if diff < {change}",
        f"if diff > -{change}",
        "breakloop",
        "endif",
        "endif",
        "copy_var p mark",
        f"add_var win {seconds(window_s)}",
        "endif",
    )
