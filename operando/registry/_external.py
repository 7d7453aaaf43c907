"""What instruments tell that only write files: the deposit's texture, and gas by its ions."""

from operando.registry._definition import Definition

_TEXTURE = (
    "Relative texture coefficient of ({}): its share, with the intensities of a powder divided "
    "out, in the sum over (002), (100) and (101) of zinc; each area is taken over 1.2 degrees "
    "above a straight baseline. A powder has 33.3. Reflections of the electrode that the deposit "
    "lies on, as the cell file tells it, are left out of the baselines; undefined where one lies "
    "under zinc's (copper's (111) under (101)) and its others are seen or not reached. That "
    "assumes that the substrate is no more than 3 times oriented so that this one is strong: "
    "evaporated, sputtered or electrodeposited copper may be more. The uncertainty is that of "
    "counting."
)
_TIME = (
    "When each {} was begun, by the clock of the leader: the middle between its rows before and "
    "after, and the uncertainty that leaves, with that of the instrument's clock. Null: before or "
    "after all rows."
)
_ROUGHNESS = (
    "{} of each height map above the plane that fits it best, without a filter: it depends on the "
    "size of map and pixels."
)
_ISO = "ISO 25178-2, height parameters"
_OURS = "usual definition"
_HARRIS = "Harris, Phil. Mag. 43 (1952) 113; JCPDS 04-0831"

EXTERNAL = (
    *(
        Definition(f"rtc_{name}_pct", "%", "by spectrum", _TEXTURE.format(name), _HARRIS)
        for name in ("002", "100", "101")
    ),
    Definition("rtc_t_s", "s", "by spectrum", _TIME.format("diffraction pattern"), _OURS),
    Definition("afm_sa_nm", "nm", "by map", _ROUGHNESS.format("Arithmetical mean height"), _ISO),
    Definition("afm_sq_nm", "nm", "by map", _ROUGHNESS.format("Root mean square height"), _ISO),
    Definition("afm_t_s", "s", "by map", _TIME.format("height map"), _OURS),
    Definition(
        "ultrasound_tof_shift_ns",
        "ns",
        "by waveform",
        "How much later the strongest echo of the first waveform comes in each, by the maximum of "
        "their cross-correlation. Where a transducer looks through electrolyte at a surface that "
        "grows towards it, -c/2 times the shift is the growth; a kelvin changes c by 0.2 %.",
        "cross-correlation",
    ),
    Definition(
        "ultrasound_amplitude_pct",
        "%",
        "by waveform",
        "Amplitude of that echo over that in the first waveform, by its envelope: gas in the way "
        "and a rough surface lessen it.",
        "Gabor, J. IEE 93 (1946) 429 (envelope)",
    ),
    Definition("ultrasound_t_s", "s", "by waveform", _TIME.format("waveform"), _OURS),
    Definition(
        "infrared_growth",
        "1",
        "by spectrum",
        "By how much absorbance has grown since the first infrared spectrum of its instrument "
        "where it has grown most; files of transmittance count from the first of them. Null where "
        "that is less than five times the noise.",
        _OURS,
    ),
    Definition(
        "infrared_growth_cm1",
        "cm-1",
        "by spectrum",
        "Where absorbance has grown most since the first infrared spectrum.",
        _OURS,
    ),
    Definition("infrared_t_s", "s", "by spectrum", _TIME.format("infrared spectrum"), _OURS),
    Definition(
        "dems_hydrogen_charge_nc",
        "nC",
        "scalar",
        "Ion current of m/z 2 above its background, summed over the time between the first "
        "half-cycle and the last row of the potentiostat. The background is the median of the "
        "rows from before the first half-cycle. It is a charge of the detector: hydrogen follows "
        "from it by a calibration with a known current.",
        "usual definition",
    ),
)
