from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from operando.plots import SHEETS, DrawnSheet, EvaluatedRun, draw, drawn_sheets
from operando.runs import Run

Make = Callable[..., Any]
MM_PER_INCH = 25.4
# The figures of a half cell's run with every stream.
DRAWN = [
    "potential", "cycles", "impedance", "relaxation", "montage", "deposit", "raman", "hydrogen",
]  # fmt: skip


def _drawn(run: Run, name: str) -> DrawnSheet:
    return draw(SHEETS[name], EvaluatedRun(run))


def _texts(drawn: DrawnSheet) -> list[str]:
    assert drawn.figure is not None
    return [text.get_text() for axes in drawn.figure.axes for text in axes.texts]


def _points(axes: Any) -> list[Any]:
    return [line for line in axes.lines if line.get_marker() == "o"]


def test_every_figure_is_one_or_two_columns_wide_and_in_type_of_seven_to_eight_points(
    full_run: Run,
) -> None:
    shown = [one for one in drawn_sheets(EvaluatedRun(full_run)) if one.figure is not None]
    assert [drawn.sheet.name for drawn in shown] == DRAWN
    for drawn in shown:
        assert drawn.reason is None, drawn.sheet.name
        assert drawn.figure is not None
        width, height = drawn.figure.get_size_inches() * MM_PER_INCH
        assert round(width) in (85, 178)
        assert height < 230  # a page
        for axes in drawn.figure.axes:
            for label in (axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels()):
                assert 7.0 <= label.get_fontsize() <= 8.0
            assert all(text.get_fontsize() >= 6.0 for text in axes.texts)


def test_axes_say_what_they_show_in_publication_units(full_run: Run) -> None:
    labels = {
        drawn.sheet.name: [
            (axes.get_xlabel(), axes.get_ylabel()) for axes in drawn.figure.axes if axes.axison
        ]
        for drawn in drawn_sheets(EvaluatedRun(full_run))
        if drawn.figure is not None
    }
    potential = "Cell potential E (mV)"
    assert labels == {
        "potential": [("Time (h)", potential), ("Areal capacity (mAh cm$^{-2}$)", potential)],
        "cycles": [("Cycle", "CE (%)"), ("Cycle", "Overpotential (mV)")],
        "impedance": [
            (r"Re Z ($\Omega$)", r"$-$Im Z ($\Omega$)"),
            ("", r"|Z| ($\Omega$)"),
            ("Frequency (Hz)", "$-$Phase (°)"),
        ],
        "relaxation": [(r"$\tau$ (s)", r"$\gamma$($\ln\tau$) ($\Omega$)")],
        "montage": [("", ""), ("", ""), ("", ""), ("Time (h)", potential)],
        "deposit": [
            ("Net charge plated (mAh cm$^{-2}$)", "Mean height (µm)"),
            ("Cumulative charge plated (mAh cm$^{-2}$)", "Height (µm)"),
        ],
        "raman": [
            ("Raman shift (cm$^{-1}$)", "Intensity over water's area, offset"),
            ("Raman shift (cm$^{-1}$)", ""),
            ("Time (h)", "Change (decision limits)"),
        ],
        "hydrogen": [
            ("Time (h)", "H$_2$ (µmol)"),
            ("Time (h)", "Faradaic efficiency of H$_2$ (%)"),
        ],
    }


def test_what_is_drawn_by_cycle_are_the_metrics(full_run: Run) -> None:
    one = EvaluatedRun(full_run)
    figure = draw(SHEETS["cycles"], one).figure
    assert figure is not None
    efficiency, polarisation = figure.axes
    assert _points(efficiency)[0].get_ydata().tolist() == one.numbers["ce_pct"].value
    assert _points(efficiency)[0].get_xdata().tolist() == [1.0, 2.0, 3.0]
    assert [line.get_ydata().tolist() for line in _points(polarisation)] == [
        one.numbers["polarisation_mv"].value,
        one.numbers["plateau_overpotential_mv"].value,
    ]


def test_formation_cycles_are_hollow_and_named(make_run: Make, synthetic: Any) -> None:
    told = make_run({**synthetic.HALF_CELL, "formation_cycles": 1})
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic(rows=100))
    told.stop()
    figure = _drawn(Run.from_documents(told.documents), "cycles").figure
    assert figure is not None
    efficiency = figure.axes[0]
    filled, hollow = _points(efficiency)
    assert hollow.get_xdata().tolist() == [1.0]
    assert filled.get_xdata().tolist() == [2.0, 3.0]
    assert hollow.get_markerfacecolor() == "white"
    assert [t.get_text() for t in efficiency.get_legend().get_texts()] == ["left out of means"]


def test_the_nyquist_plot_has_equal_axes_and_the_fit_through_its_points(full_run: Run) -> None:
    figure = _drawn(full_run, "impedance").figure
    assert figure is not None
    nyquist = figure.axes[0]
    assert nyquist.get_aspect() == 1.0
    points = _points(nyquist)
    stream = full_run.streams["impedance"].columns
    first = stream["potentiostat_impedance_spectrum"] == 1
    assert sorted(points[0].get_xdata()) == sorted(stream["potentiostat_impedance_z_real"][first])
    assert np.all(points[0].get_ydata() >= 0)  # capacitive arcs lie above the axis
    fits = [
        line for line in nyquist.lines if line.get_marker() == "None" and len(line.get_xdata()) > 9
    ]
    assert len(fits) == len(points) == 2
    for measured, fitted in zip(points, fits, strict=True):
        for x, y in zip(measured.get_xdata(), measured.get_ydata(), strict=True):
            distance = np.hypot(fitted.get_xdata() - x, fitted.get_ydata() - y).min()
            assert distance < 2.0  # ohm, of 150; the curve has 200 points


def test_potential_is_that_of_the_metal_electrode_on_either_cable(
    make_run: Make, synthetic: Any
) -> None:
    for sample, mirror in ((synthetic.HALF_CELL, 1), (synthetic.MIRRORED_CELL, -1)):
        told = make_run(sample)
        told.stream(
            "potentiostat", "potentiostat", synthetic.galvanostatic(rows=100, mirror=mirror)
        )
        figure = _drawn(Run.from_documents(told.documents), "potential").figure
        assert figure is not None
        lines = {line.get_label(): line for line in figure.axes[0].lines}
        assert np.nanmedian(lines["plating"].get_ydata()) == pytest.approx(-30.0, abs=0.5)
        assert np.nanmedian(lines["stripping"].get_ydata()) == pytest.approx(30.0, abs=0.5)


def test_the_nucleation_overpotential_that_is_written_is_the_metric(full_run: Run) -> None:
    value = EvaluatedRun(full_run).numbers["cell_eta_n_mv"].value
    assert isinstance(value, float)
    drawn = _drawn(full_run, "potential")
    assert any(f"\n{value:.4g}" in text for text in _texts(drawn)), _texts(drawn)


def test_hydrogen_is_drawn_when_its_injections_were_made(full_run: Run) -> None:
    one = EvaluatedRun(full_run)
    figure = draw(SHEETS["hydrogen"], one).figure
    assert figure is not None
    in_all = next(line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert in_all.get_ydata().tolist() == one.numbers["hydrogen_cumulative_umol"].value
    scale = one.time_unit[0]
    assert in_all.get_xdata() * scale == pytest.approx([0.5, 1800.5, 3600.5])
    shares = figure.axes[1].lines[0].get_ydata()
    assert shares[-1] == pytest.approx(one.numbers["hydrogen_faradaic_efficiency_pct"].value)


def test_heights_are_drawn_against_the_charge_and_beside_dense_metal(full_run: Run) -> None:
    one = EvaluatedRun(full_run)
    figure = draw(SHEETS["deposit"], one).figure
    assert figure is not None
    axes = figure.axes[0]
    dense = next(line for line in axes.lines if line.get_label() == "dense Zn")
    (x0, x1), (y0, y1) = dense.get_xdata(), dense.get_ydata()
    assert (y1 - y0) / (x1 - x0) == pytest.approx(1.708, abs=0.001)  # um per mAh/cm2 of zinc
    heights = np.concatenate([line.get_ydata() for line in _points(axes)])
    assert sorted(heights) == sorted(one.numbers["image_thickness_um"].value)
    rough = figure.axes[1].lines[0].get_ydata()
    assert rough.tolist() == one.numbers["image_roughness_um"].value


def test_frames_of_the_montage_are_joined_to_their_moments(full_run: Run) -> None:
    figure = _drawn(full_run, "montage").figure
    assert figure is not None
    pictures = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title(loc="left") for axes in pictures] == ["0 s", "0.50 h", "1.00 h"]
    assert any("µm" in text.get_text() for axes in pictures for text in axes.texts)


def test_frames_without_a_scale_are_shown_and_have_no_length(
    make_run: Make, synthetic: Any
) -> None:
    told = make_run()
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic(rows=100))
    heights, at_s = (0.0, 4.0), np.array([-10.0, 1800.0])
    light = {"lamp": np.ones(2), "laser": np.zeros(2)}
    frames = np.stack([synthetic.side_view(height) for height in heights])
    placed = {"t_before": at_s - 1, "t_after": at_s + 1}
    told.stream("camera", "camera", placed | light, {"image": frames})
    told.stop()
    drawn = _drawn(Run.from_documents(told.documents), "montage")
    assert drawn.figure is not None
    pictures = [axes for axes in drawn.figure.axes if axes.images]
    assert len(pictures) == 2
    texts = [text.get_text() for axes in pictures for text in axes.texts]
    assert texts == ["no scale: not calibrated"] * 2


def test_the_oldest_raman_spectrum_lies_lowest(full_run: Run) -> None:
    figure = _drawn(full_run, "raman").figure
    assert figure is not None
    high = figure.axes[1]
    lows = [line.get_ydata().min() for line in high.lines if len(line.get_ydata()) > 9]
    assert lows == sorted(lows)
    assert [text.get_text() for text in high.texts].count("blank") == 5


def test_bands_below_their_limit_of_detection_are_drawn_where_they_lie(full_run: Run) -> None:
    drawn = _drawn(full_run, "raman")
    assert drawn.figure is not None
    assert EvaluatedRun(full_run).numbers["band_3633_area"].value is None
    shown = [int(np.isfinite(line.get_ydata()).sum()) for line in _points(drawn.figure.axes[-1])]
    # Two spectra since the start and six blanks, of each of three bands.
    assert sorted(shown) == [2, 2, 2, 6, 6, 6]


def test_what_is_missing_is_told_with_the_reason_of_the_metric(bare_run: Run) -> None:
    one = EvaluatedRun(bare_run)
    reasons = {drawn.sheet.name: drawn.reason for drawn in drawn_sheets(one)}
    assert reasons["potential"] is None
    assert reasons["cycles"] is None
    assert reasons["impedance"] == "the run has no impedance spectrum"
    for name in ("montage", "deposit"):
        assert reasons[name] == "the run has no image"
    assert reasons["raman"] == "the run has no Raman spectrum"
    assert reasons["hydrogen"] == "the run has no injection"


def test_one_panel_that_is_missing_tells_why_in_its_place(make_run: Make, synthetic: Any) -> None:
    told = make_run(synthetic.SYMMETRIC_CELL)
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic((1.0, 1.0), rows=100))
    told.stop()
    drawn = _drawn(Run.from_documents(told.documents), "cycles")
    assert drawn.reason == (
        "Coulombic efficiency: undefined for a symmetric cell: the other electrode supplies what "
        "is lost"
    )
    assert any("undefined for a symmetric" in text.replace("\n", " ") for text in _texts(drawn))


def test_a_run_without_any_row_has_no_figure_and_says_why_for_each(make_run: Make) -> None:
    for drawn in drawn_sheets(EvaluatedRun(Run.from_documents(make_run().documents))):
        assert drawn.figure is None
        assert drawn.reason
        with pytest.raises(ValueError, match="there is no figure"):
            drawn.saved()


def test_a_figure_is_the_same_whatever_a_users_settings_are(bare_run: Run) -> None:
    before = _drawn(bare_run, "cycles").saved("svg")
    with mpl.rc_context({"font.size": 30.0, "axes.grid": True, "axes.spines.top": True}):
        assert _drawn(bare_run, "cycles").saved("svg") == before
        assert mpl.rcParams["font.size"] == 30.0  # and theirs stay theirs
    assert _drawn(bare_run, "cycles").saved("pdf").startswith(b"%PDF")


def test_texts_of_users_are_no_formulas(make_run: Make, synthetic: Any) -> None:
    told = make_run({**synthetic.HALF_CELL, "reference_electrode": r"$\frac{$ wire"})
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic(rows=100))
    told.stop()
    drawn = _drawn(Run.from_documents(told.documents), "potential")
    assert b"<svg" in drawn.saved("svg")  # a formula like that cannot be set
