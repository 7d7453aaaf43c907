"""Mass of the electrode, by a quartz microbalance."""

from operando.registry._definition import Definition

MICROBALANCE = (
    Definition(
        "mass_per_charge_ug_mc",
        "ug/mC",
        "by cycle",
        "Mass gained per charge plated: slope of the straight line through the mass per area "
        "(Sauerbrey, with the sensitivity that the bench file declares) against the net charge, "
        "over the readings within the plating. Times the Faraday constant it is the apparent molar "
        "mass per electron: of zinc 0.3388, of sodium 0.2383 ug/mC; side reactions take away from "
        "it, films and trapped electrolyte add to it. The uncertainty is that of the line and of "
        "the current, not that of the sensitivity.",
        "Buttry and Ward, Chem. Rev. 1992, 92, 1355; Sauerbrey 1959",
    ),
)
