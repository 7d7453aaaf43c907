"""Raman bands."""

from operando.registry._definition import Definition

RAMAN = (
    *(
        Definition(
            f"{name}_area",
            "1",
            "by spectrum",
            f"Area of {what} over the raw area of the water band (3050-3550 cm-1); None below the "
            "limit of detection, three standard uncertainties from the noise of the pixels.",
            source,
        )
        for name, what, source in (
            (
                "band_3633",
                "the band at 3633 cm-1 (O-H of zinc hydroxide sulfate) over the line through its "
                "edges, which lie on water's shoulder",
                "assignment by the reviews of the field",
            ),
            (
                "band_980",
                "the band at 980 cm-1 (v1 of sulfate) over the line through its edges",
                "assignment by the reviews of the field",
            ),
            (
                "band_465",
                "the band at 465 cm-1, fitted together with its neighbours at 451 and 390 cm-1",
                "assignment to zincate is doubtful: named by its position",
            ),
        )
    ),
    *(
        Definition(
            f"{name}_change",
            "1",
            "scalar",
            f"Mean of the last two {name}_area{where} minus the mean of the blanks (spectra before "
            "the first half-cycle); None unless both exceed the decision limit: 4 standard "
            "deviations of 20 blanks or more, by Student's t with fewer, at least 5.",
            "own definition, stated",
        )
        for name, where in (
            ("band_3633", ""),
            ("band_980", ""),
            ("band_465", " during plating"),
        )
    ),
    *(
        Definition(
            f"{name}_decision_limit",
            "1",
            "scalar",
            f"What {name}_area must differ by from the mean of the blanks before anything is said.",
            "own definition, stated",
        )
        for name in ("band_3633", "band_980", "band_465")
    ),
    *(
        Definition(
            f"{name}_detected_h",
            "h",
            "scalar",
            f"Time of the second of the first two spectra{where} in a row whose {name}_area "
            "differs from the blanks by more than the decision limit, to the same side.",
            "own definition, stated",
        )
        for name, where in (
            ("band_3633", ""),
            ("band_980", ""),
            ("band_465", " during plating"),
        )
    ),
    *(
        Definition(
            f"{name}_{what}",
            unit,
            "by spectrum",
            f"{meaning} of a pseudo-Voigt over a {line} at the band at {at} cm-1; None where the "
            f"signal-to-noise ratio is below 3{otherwise}.",
            "pseudo-Voigt fit",
        )
        for name, at, line, otherwise in (
            ("band_3633", 3633, "parabola (it lies on water's shoulder)", ""),
            ("band_980", 980, "straight line", ""),
            (
                "band_465",
                465,
                "straight line, together with Gaussians of fixed width at 451 (v2 of sulfate) and "
                "390 cm-1,",
                ", or where these leave its width open by more than 30 %",
            ),
        )
        for what, unit, meaning in (
            ("position_cm1", "cm-1", "Centre"),
            ("width_cm1", "cm-1", "Full width at half maximum, the instrument's included,"),
            ("fit_area", "1", "Area, over the raw area of the water band,"),
        )
    ),
    Definition(
        "band_980_to_390",
        "1",
        "by spectrum",
        "Area of sulfate at 980 cm-1 over that of the zinc aquo ion at 390 cm-1, which is fitted "
        "together with its neighbours at 451 and 465 cm-1.",
        "assignment by the reviews of the field",
    ),
    Definition(
        "raman_axis_shift_cm1",
        "cm-1",
        "by spectrum",
        "How far the reference line that the bench declares (reference_line_cm1, such as silicon's "
        "520.5 or polystyrene's 1001.4) is found from where it should be.",
        "ASTM E1840",
    ),
)
