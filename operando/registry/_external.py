"""What instruments tell that only write files: the deposit's texture, and gas by its ions."""

from operando.registry._definition import Definition

_TEXTURE = (
    "Relative texture coefficient of ({}): its share, with the intensities of a powder divided "
    "out, in the sum over (002), (100) and (101) of zinc; each area is taken over 1.2 degrees "
    "above a straight baseline. A powder has 33.3."
)
_HARRIS = "Harris, Phil. Mag. 43 (1952) 113; JCPDS 04-0831"

EXTERNAL = (
    *(
        Definition(f"rtc_{name}_pct", "%", "by spectrum", _TEXTURE.format(name), _HARRIS)
        for name in ("002", "100", "101")
    ),
    Definition(
        "dems_hydrogen_charge_nc",
        "nC",
        "scalar",
        "Ion current of m/z 2 above its background, summed over the time of the run. The "
        "background is the median of the rows from before the first half-cycle. It is a charge of "
        "the detector: hydrogen follows from it by a calibration with a known current.",
        "usual definition",
    ),
)
