"""Stored numbers belong to the version of the analysis that computed them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.analysis import metrics
from operando.registry import ANALYSIS_VERSION, METRICS
from operando.runs import Run

# If a number differs here, `ANALYSIS_VERSION` must be raised, or searches keep finding runs by what
# older versions made of them; then say here what the new version computes.
VERSION = 30
NUMBERS: dict[str, Any] = {
    "ce_pct": [None, 97.0008331, 99.0002777],
    "ce_mean_pct": 98.0005554,
    "ce_mean_without_first_pct": 98.0005554,
    "ce_ratio_of_sums_pct": 98.0005554,
    "ce_sd_pct": 1.41382083,
    "cumulative_irreversible_mah_cm2": 0.02,
    "ce_last_cycle_above_95": 3.0,
    "cell_eta_n_mv": 14.8050927,
    "plateau_overpotential_mv": [30.0, 30.0, 30.0],
    "polarisation_mv": [60.0, 60.0, 60.0],
    "late_strip_rise": [1.72178693, 1.72184277, 1.72185727],
    "overpotential_mv": [30.0, 30.0, 30.0],
    "voltage_hysteresis_mv": [60.0, 60.0, 60.0],
    "plated_capacity_mah_cm2": [0.500138889, 0.500138889, 0.500138889],
    "cumulative_plated_mah_cm2": 1.50041667,
    "depth_of_discharge_pct": 23.8402778,
    "life_first_soft_short_h": 3.01347222,
    "life_first_soft_short_observed": 0.0,
    "life_hard_short_h": 3.01347222,
    "life_hard_short_observed": 0.0,
    "life_polarisation_h": 3.01347222,
    "life_polarisation_observed": 0.0,
    "soft_short_count": 0.0,
    "potential_noise_mv_s": [0.0, 0.0, 0.0],
    "series_resistance_ohm": [9.0],
    "interfacial_resistance_ohm": [40.0],
    "brug_capacitance_uf": [20.7093940],
    "impedance_chi2_reduced": [0.0],
    "drt_tau_s": [0.00100018669],
    "drt_area_ohm": [39.9976001],
    "theoretical_thickness_um": [0.854375013, 0.939788788, 0.965412921],
    "image_thickness_um": [-0.00706403871, -0.0240001407, 12.0071905, 3.99748306],
    "image_thickness_end_of_plating_um": [12.0227226, None, None],
    "compactness": [0.0706884033, None, None],
    "image_roughness_um": [0.0641101111, 0.0636740427, 0.0598579393, 0.0571689396],
    "image_tip_um": [0.145181578, 0.15861692, 0.135517334, 0.124713278],
    "image_peak_to_valley_um": [0.304075756, 0.325036173, 0.337071463, 0.277084067],
    "image_tip_column_px": [454.0, 302.0, 182.0, 458.0],
    "image_tip_count": [0.0, 0.0, 0.0, 0.0],
    "bubble_count": [0.0, 0.0, 0.0, 0.0],
    "bubble_volume_nl": [0.0, 0.0, 0.0, 0.0],
    "image_region_count": 1.0,
    "image_charge_mah_cm2": [0.0, 0.0, 0.4975, 0.05],
    "image_compactness": [None, None, 0.0706884033, 0.0212841896],
}


def test_the_numbers_of_a_run_belong_to_the_version_of_the_analysis(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    plated = {**synthetic.COPPER, "predeposited_mah_cm2": 2.0}
    sample = {**synthetic.HALF_CELL, "working_electrode": plated}
    sample["counter_electrode"] = {"material": "graphite", "area_cm2": 1.131}
    told = make_run(
        sample, calibration={"camera": {"micrometre_per_pixel": 2.0, "margin_columns": [0, 112]}}
    )
    columns = synthetic.galvanostatic((0.9, 0.97, 0.99), rows=300)
    told.stream("potentiostat", "potentiostat", {**columns, "step_t": columns["t"] * 0 + 0.5})
    frequency = np.logspace(5, -1, 61)
    z = synthetic.arcs_ohm(frequency, 9.0, (40.0, 1e-3, 0.9))
    spectrum = {name: np.ones(61) for name in ("spectrum", "t", "cycle", "half_cycle", "step")}
    spectrum |= {"frequency": frequency, "z_real": z.real, "z_imag": z.imag}
    told.stream("impedance", "potentiostat_impedance", spectrum)
    heights = [0.0, 0.0, 6.0, 2.0]
    times = np.array([-20.0, -10.0, 1790.0, 3500.0])
    frames = np.stack([synthetic.side_view(height, seed=n) for n, height in enumerate(heights)])
    followers = {"lamp": np.ones(4), "laser": np.zeros(4), "t_before": times, "t_after": times + 1}
    told.stream("camera", "camera", followers, {"image": frames})
    told.stop()
    found = {
        name: metric.value
        for name, metric in metrics(Run.from_documents(told.documents)).items()
        if metric.value is not None
    }
    assert (ANALYSIS_VERSION, len(METRICS)) == (VERSION, 178)
    assert found.keys() == NUMBERS.keys()
    for name, value in NUMBERS.items():
        values, expected = (v if isinstance(v, list) else [v] for v in (found[name], value))
        for one, other in zip(values, expected, strict=True):
            assert one == (other if other is None else pytest.approx(other, rel=1e-5, abs=1e-6)), (
                name
            )
