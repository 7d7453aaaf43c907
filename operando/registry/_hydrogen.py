"""Hydrogen in the headspace."""

from operando.registry._definition import Definition

HYDROGEN = (
    Definition(
        "hydrogen_umol",
        "umol",
        "by injection",
        "Hydrogen formed since the last injection that found any (the first: since the start). A "
        "swept cell: the trapezoid of the rates of two injections in a row.",
        "ideal gas in a closed headspace",
    ),
    Definition(
        "hydrogen_cumulative_umol",
        "umol",
        "by injection",
        "Hydrogen formed since the start: y P V / (R T), plus what earlier injections took away. A "
        "swept cell: the sum of hydrogen_umol since the first injection that found any, a lower "
        "bound where injections between found none.",
        "ideal gas in a closed headspace",
    ),
    Definition(
        "hydrogen_total_umol",
        "umol",
        "scalar",
        "hydrogen_cumulative_umol of the last injection that found any.",
        "ideal gas in a closed headspace",
    ),
    Definition(
        "hydrogen_faradaic_efficiency_pct",
        "%",
        "scalar",
        "Share of the charge passed until that injection, in both directions, that made hydrogen "
        "(2 F per mole). Only where the cell's headspace_separated is true it is a lower bound of "
        "1 - CE: a shared headspace collects the gas of both electrodes. Of a run without "
        "half-cycles: of the charge of its steps at a set current or potential.",
        "Faraday's law",
    ),
    Definition(
        "oxygen_reduction_bound_mah_cm2",
        "mAh/cm2",
        "scalar",
        "q_ORR of the ledger: the most charge that the oxygen in the cell can take; it makes OH- "
        "without hydrogen, so that n(ZHS) <= n(H2)/3 holds only where it is 0. The sum of what is "
        "dissolved in an electrolyte under air (4 F c V / A, 2.58e-4 mol/L; 0 if deaerated), of "
        "the oxygen in a closed headspace (4 F 0.2095 P V / (R T A) of air; 0 of an atmosphere "
        "without oxygen; one that is not told is taken for air unless the electrolyte is "
        "deaerated) and of what make_up_gas brings in for injections. "
        "It bounds what was shut in, not what a leak (oxygen_rise_ppm_h) or an open cell supplies.",
        "Faraday's law; solubility after Benson and Krause 1984",
    ),
    Definition(
        "hydrogen_recovery_pct",
        "%",
        "scalar",
        "Hydrogen found over the hydrogen that the charge should have made, of a run in which "
        "all charge makes hydrogen (platinum at a set current): 2 F n / Q. None in a run with "
        "half-cycles.",
        "Faraday's law",
    ),
    Definition(
        "hydrogen_rate_nmol_s",
        "nmol/s",
        "by injection",
        "A swept cell: y F P0 / (R T0) at the injection, T0 and P0 as the flow was declared. A "
        "closed one: hydrogen_umol over the time since the last injection that found any; of the "
        "first one none, unless the rest before the current was shorter than a twentieth of it: it "
        "has what was made in that rest.",
        "ideal gas",
    ),
    Definition(
        "hydrogen_partial_current_ma",
        "mA",
        "by injection",
        "2 F times hydrogen_rate_nmol_s.",
        "Faraday's law",
    ),
    Definition(
        "hydrogen_interval_fe_pct",
        "%",
        "by injection",
        "Share of the charge passed since the last injection that found any hydrogen, in both "
        "directions, that made hydrogen_umol; of the first one as hydrogen_rate_nmol_s, and none "
        "where more than a twentieth of the interval was rest before the current. Its "
        "uncertainty is that of hydrogen_umol (noise of both peaks; slope and intercept of the "
        "calibration; the headspace's gas or the flow, where gas_uncertainty tells it) and that "
        "of the charge.",
        "Faraday's law",
    ),
    Definition(
        "hydrogen_mole_fraction_ppm",
        "ppm",
        "by injection",
        "Mole fraction of hydrogen in the gas injected; None below the limit of detection.",
        "calibration of the detector",
    ),
    Definition(
        "hydrogen_dissolved_umol",
        "umol",
        "by injection",
        "Hydrogen dissolved in the electrolyte in equilibrium with a closed headspace, 7.8e-4 "
        "mol/(L atm); told beside the amounts, not in them.",
        "Henry's law, pure water at 25 degrees C",
    ),
    Definition(
        "hydrogen_lod_ppm",
        "ppm",
        "by injection",
        "Three standard deviations of the noise of the peak's area, over the slope of the "
        "calibration.",
        "usual definition",
    ),
    Definition(
        "hydrogen_peak_retention_s",
        "s",
        "by injection",
        "Where the hydrogen peak is highest.",
        "usual definition",
    ),
    Definition(
        "hydrogen_peak_asymmetry",
        "1",
        "by injection",
        "Width behind the top of the hydrogen peak over width before it, at 10 % of its height.",
        "usual definition",
    ),
    Definition(
        "hydrogen_peak_signal_to_noise",
        "1",
        "by injection",
        "Height of the hydrogen peak over the standard deviation of the trace beside it.",
        "usual definition",
    ),
    Definition(
        "hydrogen_calibration_r2",
        "1",
        "scalar",
        "Of the straight line through the calibration's levels; the reason says whether it was "
        "forced through zero.",
        "usual definition",
    ),
    Definition(
        "hydrogen_calibration_lod_ppm",
        "ppm",
        "scalar",
        "Three standard deviations of the levels' areas about that line, over its slope.",
        "usual definition",
    ),
    Definition(
        "oxygen_area",
        "1",
        "by injection",
        "Area of the oxygen peak, detector unit times s: a tracer of air that leaks in.",
        "own definition, stated",
    ),
    Definition(
        "oxygen_ppm",
        "ppm",
        "by injection",
        "Mole fraction of oxygen, by the calibration's oxygen_area_per_mole_fraction.",
        "calibration of the detector",
    ),
    Definition(
        "oxygen_rise_ppm_h",
        "ppm/h",
        "scalar",
        "Slope of a straight line through oxygen_ppm, three injections at least: a leak.",
        "own definition, stated",
    ),
    Definition(
        "nitrogen_area",
        "1",
        "by injection",
        "Area of the nitrogen peak, detector unit times s: a tracer of air that leaks in.",
        "own definition, stated",
    ),
    Definition(
        "nitrogen_ppm",
        "ppm",
        "by injection",
        "Mole fraction of nitrogen, by the calibration's nitrogen_area_per_mole_fraction.",
        "calibration of the detector",
    ),
    Definition(
        "nitrogen_rise_ppm_h",
        "ppm/h",
        "scalar",
        "Slope of a straight line through nitrogen_ppm, three injections at least: a leak.",
        "own definition, stated",
    ),
    Definition(
        "hydrogen_response_area",
        "1",
        "scalar",
        "Area per mole fraction of the hydrogen in a calibration gas, mean of the injections of"
        " a run that checks it: what hydrogen_area_per_mole_fraction should be.",
        "calibration of the detector",
    ),
    Definition(
        "hydrogen_blank_area",
        "1",
        "scalar",
        "Area where hydrogen elutes, mean of the injections of a run with a blank gas.",
        "own definition, stated",
    ),
)
