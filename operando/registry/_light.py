"""What the laser did to the sample."""

from operando.registry._definition import Definition

LIGHT = (
    Definition(
        "laser_power_at_sample_mw",
        "mW",
        "by spectrum",
        "Power of the laser at the sample, as a power meter found it there, in proportion to the "
        "power that was read back; None until that was measured.",
        "own definition, stated",
    ),
    Definition(
        "laser_exposure_mj",
        "mJ",
        "by spectrum",
        "Energy that the laser brought to the sample for a spectrum: laser_power_at_sample_mw "
        "times how long it was on, warm-up included.",
        "own definition, stated",
    ),
    Definition(
        "laser_exposure_j_cm2",
        "J/cm2",
        "by spectrum",
        "laser_exposure_mj over the area of the spot, a disc of the diameter that was calibrated.",
        "own definition, stated",
    ),
    Definition(
        "laser_dose_mj",
        "mJ",
        "by spot",
        "Sum of laser_exposure_mj of all spectra taken on a spot, in the order in which the spots "
        "were first used; spots less than a diameter apart are one. Without a stage there is one. "
        "At least that much where spectra of unknown power or time are left out; none of a spot "
        "that has no others.",
        "own definition, stated",
    ),
    Definition(
        "laser_dose_j_cm2",
        "J/cm2",
        "by spot",
        "laser_dose_mj over the area of the spot.",
        "own definition, stated",
    ),
    Definition(
        "laser_step_mv",
        "mV",
        "by spectrum",
        "By how much the potential of the metal electrode rises when the laser goes on: rows "
        "within an exposure against those before and after it in the same step, over a straight "
        "line through time; the rows at both edges do not count, and none of a step that sets the "
        "potential. Light on a semiconducting film, or heat, shows here.",
        "own definition, stated",
    ),
    Definition(
        "laser_step_mean_mv",
        "mV",
        "scalar",
        "Mean of laser_step_mv with its standard error.",
        "own definition, stated",
    ),
    *(
        Definition(
            f"{name}_light_change",
            "1",
            "scalar",
            f"Mean of {name}'s area (over that of water) on the usual spot less that on a fresh "
            "spot, at the same time (between the usual spectra beside it); at least 3 fresh spots. "
            "The reason tells whether it differs from nothing at 95 % (Student).",
            "own definition, stated",
        )
        for name in ("band_3633", "band_980", "band_465")
    ),
)
