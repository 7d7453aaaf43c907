"""What the sources contradict each other or themselves in: told, and never fitted."""

CONFLICTS = (
    "Sodium paper: its introduction tells a retention of 53.2 % on bare zinc, its results 74.2 %.",
    "Sodium paper: 79.9 of 140.5 mAh/g is 56.9 %; it tells 55.4 %.",
    "Sodium paper: the couples' positions are 120 and 170, 50 and 60 mV apart; it tells 115 and "
    "168, 38 and 63 mV. Rounding explains all but 38 (40 at least).",
    "Sodium paper: an exchange current of 2.36 mA/cm2 and 1.8 ohm cannot be one interface "
    "(Butler-Volmer gives 10.9 ohm cm2 for one): A7 is an apparent one, without correction for iR.",
    'ZnF2: 2500 h "at 5 mA/cm2" in a text, (1, 1) in the table; 800 h at (1, 1) elsewhere.',
    "ZrO2: 99.36 % at (20, 5) in a figure, at (5, 1) in a table.",
    "ZnSe: 1500 h at 10/5 in a text, 10/1 in the table; 1700 h at (1, 0.5) elsewhere.",
    "BaTiO3: 4100 h, and 2000 h at (1, 1) elsewhere.",
    "CaCO3: more than 800 h in the table, 836 h in the text.",
    "LZS: 3300 cycles in the text, 3300 h in the table.",
    "ZNB: 2000 h at 1 mA/cm2 in the text, 1000 h at (10, 10) in the table.",
    "SPCOF: 10 mA/cm2 in the text, (1, 1) in the table.",
    "Tp-Tg: 20 um of zinc, 50 % depth of discharge and 10 mAh/cm2; 10 of 11.7 mAh/cm2 is 85 %.",
)
