"""Write an impedance spectrum as MethodSCRIPT."""

import math

from instruments.errors import UnsupportedTechniqueError
from instruments.potentiostat.contract import IMPEDANCE
from instruments.potentiostat.methodscript.script import (
    BANDWIDTH_TIMES_INTERVAL,
    SAFETY,
    SAFETY_CURRENT,
    Script,
    farewell,
    literal,
    volts,
)
from techniques import ImpedanceSpectrum
from techniques.assignment import OPEN_CIRCUIT_BEFORE_S

# A hold at a bias: long enough to charge the double layer, checked often enough to end a short.
_HOLD_S, _HOLD_INTERVAL_S = 1.0, 0.02


def impedance(script: Script, step: ImpedanceSpectrum) -> None:
    """Write a spectrum, and the checks around it."""
    caps = script.capabilities
    if step.frequency_max_hz > caps.frequency_max_hz:
        raise UnsupportedTechniqueError(
            f"{caps.model} measures impedance up to {caps.frequency_max_hz:g} Hz, asked for "
            f"{step.frequency_max_hz:g} Hz"
        )
    decades = math.log10(step.frequency_max_hz / step.frequency_min_hz)
    points = round(decades * step.points_per_decade) + 1
    sweep = f"{literal(step.frequency_max_hz)} {literal(step.frequency_min_hz)} {points}i"
    silence = 10 / step.frequency_min_hz + OPEN_CIRCUIT_BEFORE_S + _HOLD_S
    longest = points * silence
    script.count_rows(points + 1 + (2 if script.reference else 0))
    script.add(f"# impedance, {step.mode}, {points} frequencies", "cell_off")
    if step.mode == "potentiostatic":
        _potentiostatic_spectrum(script, step, sweep, silence, longest)
    else:
        _galvanostatic_spectrum(script, step, sweep, silence, longest)


def _points_of_spectrum(script: Script, loop: str) -> None:
    script.add(loop, "timer_get t")
    script.row(("f", "zr", "zi"))
    script.add("endloop")
    script.package(("t", "row", "f", "zr", "zi"))


def _potentiostatic_spectrum(
    script: Script, step: ImpedanceSpectrum, sweep: str, silence: float, longest: float
) -> None:
    caps, amplitude = script.capabilities, step.amplitude_rms_v or 0.0
    if amplitude > caps.amplitude_max_v:
        raise UnsupportedTechniqueError(
            f"{caps.model} modulates {caps.amplitude_max_v:g} V rms at most, asked for "
            f"{amplitude:g} V rms"
        )
    bias = None if step.potential_v is None else step.potential_v * script.assignment.mirror
    peak = amplitude * math.sqrt(2)
    if bias is not None:
        _bias_must_be_possible(script, bias, peak)
    # Impedance needs the fast mode, whose bandwidth must reach the highest frequency.
    script.add("set_pgstat_mode 3", f"set_max_bandwidth {literal(step.frequency_max_hz)}")
    script.potential_range(*([] if bias is None else [abs(bias) + peak]))
    ranges, most = caps.current_ranges_a, script.assignment.limits.current_max_a
    largest = ranges[-1] if most is None else script.current_range(most)
    script.add(f"set_range ba {literal(largest)}")
    script.add(f"set_autoranging ba {literal(ranges[0])} {literal(largest)}")
    script.header("impedance", IMPEDANCE, 0.0, silence, longest)
    loop = f"meas_loop_eis f zr zi {literal(amplitude)} {sweep} bias"
    if bias is None:
        _check_open_circuit(script, peak)
        script.add("copy_var p bias", "set_e bias", "cell_on")
        _points_of_spectrum(script, loop)
        script.add("cell_off")
        if script.reference:
            _check_open_circuit(script, 0.0)
    else:
        script.add(f"store_var bias {volts(bias)} da", "set_e bias", "cell_on")
        _hold_at_bias(script)
        _points_of_spectrum(script, loop)
        _hold_at_bias(script)
        script.add("cell_off")


def _galvanostatic_spectrum(
    script: Script, step: ImpedanceSpectrum, sweep: str, silence: float, longest: float
) -> None:
    caps = script.capabilities
    if not caps.galvanostatic:
        raise UnsupportedTechniqueError(
            f"{caps.model} cannot control the current: use a potentiostatic spectrum"
        )
    amplitude = (step.amplitude_rms_ma_cm2 or 0.0) * 1e-3 * script.assignment.area_cm2
    peak = amplitude * math.sqrt(2)
    if peak > caps.current_max_a:
        raise UnsupportedTechniqueError(
            f"{caps.model} gives {caps.current_max_a * 1e3:g} mA at most, the spectrum's peak "
            f"is {peak * 1e3:g} mA"
        )
    script.add("set_pgstat_mode 3")
    script.bandwidth(0.1)
    script.potential_range()
    script.header("impedance", IMPEDANCE, 0.0, silence, longest)
    _check_open_circuit(script, 0.0)
    # That a range carries more than its nominal value is told of constant currents only.
    ranges = caps.current_ranges_a
    range_a = next((x for x in ranges if peak <= x * (1 + 1e-9)), ranges[-1])
    script.galvanostat(range_a, BANDWIDTH_TIMES_INTERVAL / step.frequency_max_hz)
    script.add("set_i 0", "cell_on")
    _points_of_spectrum(script, f"meas_loop_geis f zr zi {literal(amplitude)} {sweep} 0")
    script.measure(f"meas_loop_cp p c 0 100m {literal(OPEN_CIRCUIT_BEFORE_S)}")
    _tell_time(script)
    script.add("endloop", "cell_off")
    _tell_potentials(script, "p")
    script.potential_must_be_safe(0.0)
    script.cell_must_be_safe()


def _check_open_circuit(script: Script, peak_v: float) -> None:
    """Measure the open circuit potential; end the program if a swing from it is not safe."""
    script.open_circuit_potential()
    _tell_potentials(script, "p")
    script.potential_must_be_safe(peak_v)
    script.cell_must_be_safe()


def _tell_time(script: Script) -> None:
    """Take the time in a loop that is told of, in a cell with a reference."""
    if script.reference:
        script.add("timer_get t")


def _tell_potentials(script: Script, *names: str) -> None:
    """Send the potentials before or after a spectrum, which itself tells none, as a row.

    In a cell with a reference only, where they are two.
    """
    if script.reference:
        script.row(script.names(*names))


def _hold_at_bias(script: Script) -> None:
    """Hold the bias for a moment; end the program if a current or potential is beyond a limit."""
    most = script.assignment.limits.current_max_a
    if most is None and not script.reference:
        return
    script.add("store_var why 0i ja")
    script.measure(f"meas_loop_ca p c bias {literal(_HOLD_INTERVAL_S)} {literal(_HOLD_S)}")
    _tell_time(script)
    script.watch_cell()
    if most is not None:
        script.watch(f"c > {literal(most)}", SAFETY_CURRENT)
        script.watch(f"c < {literal(-most)}", SAFETY_CURRENT)
    script.add("endloop")
    _tell_potentials(script, "p", "c")
    if most is not None:
        text = f"{SAFETY} current_max_a {most:g}"
        script.when(SAFETY_CURRENT, "cell_off", *farewell(text), "abort")
    script.cell_must_be_safe()


def _bias_must_be_possible(script: Script, bias: float, peak_v: float) -> None:
    caps = script.capabilities
    if not caps.potential_min_v <= bias - peak_v <= bias + peak_v <= caps.potential_max_v:
        raise UnsupportedTechniqueError(
            f"{caps.model} applies {caps.potential_min_v:g} V to {caps.potential_max_v:g} V, "
            f"asked for {bias:g} V and a swing of {peak_v:.3g} V"
        )
