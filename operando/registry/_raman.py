"""Raman bands."""

from operando.registry._definition import Definition

RAMAN = (
    *(
        Definition(
            f"{name}_area",
            "1",
            "by spectrum",
            f"Area of {what} over the raw area of the water band (3050-3550 cm-1).",
            source,
        )
        for name, what, source in (
            (
                "band_3633",
                "the band at 3633 cm-1 (O-H of zinc hydroxide sulfate) over the line through its "
                "edges; can be negative, as it lies on water's shoulder",
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
)
