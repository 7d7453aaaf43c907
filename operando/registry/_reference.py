"""The reference electrode of a three-electrode cell."""

from operando.registry._definition import Definition

_OFFSET = (
    "Potential of the metal counter electrode (of the working electrode where only that one bears "
    "metal) against the reference, less what is known of it (0 against the same metal, else "
    "metal_vs_reference_v of the cell file), "
)
_BEFORE = (
    "at open circuit just before the first step that is none: the median over the last look_s."
)
_AFTER = "at open circuit at the end, after the last step that is none: the median over look_s."
_OWN = "own definition, stated"

REFERENCE = (
    Definition("reference_offset_before_mv", "mV", "scalar", _OFFSET + _BEFORE, _OWN),
    Definition("reference_offset_after_mv", "mV", "scalar", _OFFSET + _AFTER, _OWN),
    Definition(
        "reference_drift_mv",
        "mV",
        "scalar",
        "reference_offset_after_mv - reference_offset_before_mv: of the reference with the "
        "opposite sign, unless the electrode itself has not come to rest.",
        _OWN,
    ),
    Definition(
        "counter_potential_before_mv",
        "mV",
        "scalar",
        "E_CE = E_WE - (E_WE - E_CE) against the reference, " + _BEFORE,
        "usual definition",
    ),
    Definition(
        "counter_potential_after_mv",
        "mV",
        "scalar",
        "E_CE against the reference, " + _AFTER,
        "usual definition",
    ),
    Definition(
        "working_potential_before_mv",
        "mV",
        "scalar",
        "E_WE against the reference, " + _BEFORE,
        "usual definition",
    ),
    Definition(
        "working_potential_after_mv",
        "mV",
        "scalar",
        "E_WE against the reference, " + _AFTER,
        "usual definition",
    ),
)
