"""The terms of the EMMO electrochemistry domain that describe our cells, techniques and metrics.

Names and identifiers are those of its version 0.37.2; what it has no term for stays without one
(nucleation overpotential: its crystallisation overpotential is meant, spelled as it spells it).
"""

from collections.abc import Mapping
from types import MappingProxyType

PREFIXES: Mapping[str, str] = MappingProxyType(
    {
        "electrochemistry": "https://w3id.org/emmo/domain/electrochemistry#electrochemistry_",
        "substance": "https://w3id.org/emmo/domain/chemical-substance#substance_",
        "chameo": "https://w3id.org/emmo/domain/characterisation-methodology/chameo#",
        "emmo": "https://w3id.org/emmo#",
    }
)

CLASSES: Mapping[str, str] = MappingProxyType(
    {
        "ElectrochemicalCell": "electrochemistry:6f2c88c9_5c04_4953_a298_032cc3ab9b77",
        "ElectrochemicalHalfCell": "electrochemistry:9da958fc_f76d_4654_8a78_99b5f98c118c",
        "WorkingElectrode": "electrochemistry:fb988878_ee54_4350_9ee9_228c00c3ad35",
        "CounterElectrode": "electrochemistry:871bc4a4_2d17_4b88_9b0f_7ab85f14afea",
        "ReferenceElectrode": "electrochemistry:7729c34e_1ae9_403d_b933_1765885e7f29",
        "PositiveElectrode": "electrochemistry:aff732a9_238a_4734_977c_b2ba202af126",
        "NegativeElectrode": "electrochemistry:c94c041b_8ea6_43e7_85cc_d2bce7785b4c",
        "Electrolyte": "electrochemistry:fb0d9eef_92af_4628_8814_e065ca255d59",
        "Separator": "electrochemistry:331e6cca_f260_4bf8_af55_35304fe1bbe0",
        "Coating": "electrochemistry:09a7f560_9ddf_4c32_b067_b213eca5b0a1",
        "Zinc": "substance:9bd78e1c_a4dc_41b6_8013_adb51df1ffdc",
        "Sodium": "substance:a16a1bae_7844_42fd_bb6d_979195d6c933",
        "ElectrodeGeometricSurfaceArea": "electrochemistry:fa7790d6_07bb_4b0f_9965_55966828f5f3",
        "Thickness": "emmo:EMMO_43003c86_9d15_433b_9789_ee2940920656",
        "Mass": "emmo:EMMO_ed4af7ae_63a2_497e_bb88_2309619ea405",
        "Volume": "emmo:EMMO_f1a51559_aa3d_43a0_9327_918039f0dfed",
        "Pressure": "emmo:EMMO_50a44256_9dc5_434b_bad4_74a4d9a29989",
        "AreicCapacity": "electrochemistry:bcb33f7e_5573_4bc2_b636_4ea313a9dd3a",
        "CyclingTest": "electrochemistry:435b22d4_c441_45ea_8c79_0cbec11fd287",
        "GalvanostaticCycling": "electrochemistry:79a8802e_8296_459a_b65d_6e5c79e1bf37",
        "Electroplating": "emmo:EMMO_30e3edb5_0977_4b9b_9aed_5a4d16c1c07c",
        "StrippingChronopotentiometry": "electrochemistry:bfbefff0_4df5_47c2_9943_5f42cf268e9e",
        "ElectrochemicalImpedanceSpectroscopy": "chameo:ElectrochemicalImpedanceSpectroscopy",
        "OpenCircuitHold": "chameo:OpenCircuitHold",
        "CoulombicEfficiency": "electrochemistry:a5962e05_466d_46a4_8951_bea59d7326e5",
        "InitialCoulombicEfficiency": "electrochemistry:469b9516_a96d_4aa2_b8e5_05ae982e2084",
        "FaradaicEfficiency": "electrochemistry:5696453c_9da7_41e2_bbda_603c1b90a8fc",
        "CrystalizationOverpotential": "electrochemistry:8de9735b_374a_4a0f_b29f_71a50794cf94",
        "Overpotential": "electrochemistry:1cd1d777_e67b_47eb_81f1_edac35d9f2c6",
        "DepthOfDischarge": "electrochemistry:1acab8af_9798_45df_a64b_a7030c57a4de",
        "ElectricResistance": "emmo:EMMO_e88f75d6_9a17_4cfc_bdf7_43d7cea5a9a1",
        "RealData": "emmo:EMMO_18d180e4_5e3e_42f7_820c_e08951223486",
        "MetrologicalUncertainty": "emmo:EMMO_847724b7_acef_490e_9f0d_67da967f2812",
    }
)

PROPERTIES: Mapping[str, str] = MappingProxyType(
    {
        "hasTestObject": "electrochemistry:5998f7c1_d8e3_4c55_8170_c358e1b0c93c",
        "hasWorkingElectrode": "electrochemistry:c76dbfeb_f3d9_44d4_9cbe_0946924f311f",
        "hasCounterElectrode": "electrochemistry:e08d43cf_93e4_49c6_bcb6_472be52ae7fc",
        "hasReferenceElectrode": "electrochemistry:5eb197ea_0c3e_4ea2_8392_81152ee91515",
        "hasElectrolyte": "electrochemistry:3bd08946_4e81_455d_9fca_dc7a5ead9315",
        "hasSeparator": "electrochemistry:9317be62_e602_4343_a72d_02c87201b9f6",
        "hasActiveMaterial": "electrochemistry:860aa941_5ff9_4452_8a16_7856fad07bee",
        "hasCoating": "electrochemistry:4df9926d_d4f2_4955_93f3_a03c5edc5383",
        "hasProperty": "emmo:EMMO_e1097637_70d2_4895_973f_2396f04fa204",
        "hasMeasurementUnit": "emmo:EMMO_bed1d005_b04e_4a90_94cf_02bc678a8569",
        "hasNumericalPart": "emmo:EMMO_8ef3cd6d_ae58_4a8d_9fc0_ad8f49015cd0",
        "hasMetrologicalUncertainty": "emmo:EMMO_662c64e7_fc72_49b3_a161_f50fd42deafa",
        "hasOutput": "emmo:EMMO_c4bace1d_4db0_4cd3_87e9_18122bae2840",
    }
)
NUMERICAL_VALUE = "emmo:EMMO_faf79f53_749d_40b2_807c_d34244c192f4"

# Units of ours that EMMO names; mAh/cm2, uL and mL are not among them.
UNITS: Mapping[str, str] = MappingProxyType(
    {
        "cm2": "emmo:SquareCentiMetre",
        "um": "emmo:MicroMetre",
        "mg": "emmo:MilliGram",
        "kPa": "emmo:KiloPascal",
        "%": "electrochemistry:8430be19_6cae_4a15_a570_3c15d0d190eb",
        "mV": "emmo:MilliVolt",
        "V": "emmo:Volt",
        "A": "emmo:Ampere",
        "s": "emmo:Second",
        "Hz": "emmo:Hertz",
        "ohm": "emmo:Ohm",
        "umol": "emmo:MicroMole",
        "1": "emmo:EMMO_5ebd5e01_0ed3_49a2_a30d_cd05cbe72978",
        "mA/cm2": "emmo:MilliAmperePerSquareCentiMetre",
    }
)

METALS: Mapping[str, str] = MappingProxyType({"Zn": "Zinc", "Na": "Sodium"})

# Metric of the registry -> the class its value is an instance of.
METRICS: Mapping[str, str] = MappingProxyType(
    {
        "ce_pct": "CoulombicEfficiency",
        "ce_mean_pct": "CoulombicEfficiency",
        "ce_mean_without_first_pct": "CoulombicEfficiency",
        "ce_ratio_of_sums_pct": "CoulombicEfficiency",
        "initial_ce_pct": "InitialCoulombicEfficiency",
        "cell_eta_n_mv": "CrystalizationOverpotential",
        "eta_n_mv": "CrystalizationOverpotential",
        "plateau_overpotential_mv": "Overpotential",
        "plated_capacity_mah_cm2": "AreicCapacity",
        "cumulative_plated_mah_cm2": "AreicCapacity",
        "depth_of_discharge_pct": "DepthOfDischarge",
        "series_resistance_ohm": "ElectricResistance",
        "interfacial_resistance_ohm": "ElectricResistance",
        "theoretical_thickness_um": "Thickness",
        "image_thickness_um": "Thickness",
        "image_thickness_end_of_plating_um": "Thickness",
        "hydrogen_faradaic_efficiency_pct": "FaradaicEfficiency",
    }
)

# Type and role of a technique -> what an electrochemist calls it in that vocabulary.
TECHNIQUES: Mapping[tuple[object, object], tuple[str, ...]] = MappingProxyType(
    {
        ("open_circuit", None): ("OpenCircuitHold",),
        ("impedance_spectrum", None): ("ElectrochemicalImpedanceSpectroscopy",),
        ("plate_strip_cycle", None): ("GalvanostaticCycling",),
        ("galvanostatic_step", "plate"): ("Electroplating",),
        ("galvanostatic_step", "strip"): ("StrippingChronopotentiometry",),
    }
)


def iri(compact: str) -> str:
    """Return the whole identifier of ``prefix:name``."""
    prefix, _, name = compact.partition(":")
    return PREFIXES[prefix] + name


def jsonld_context() -> dict[str, object]:
    """Return a JSON-LD context that resolves every term without the network."""
    return {
        **{name: iri(compact) for name, compact in CLASSES.items()},
        **{name: {"@id": iri(one), "@type": "@id"} for name, one in PROPERTIES.items()},
        "hasNumericalValue": iri(NUMERICAL_VALUE),
    }


def technique_terms(technique: object) -> list[str]:
    """Return what the techniques in a stored technique, nested ones too, are called; sorted."""
    found: set[str] = set()

    def visit(value: object) -> None:
        if isinstance(value, Mapping):
            found.update(TECHNIQUES.get((value.get("type"), value.get("role")), ()))
            for one in value.values():
                visit(one)
        elif isinstance(value, list | tuple):
            for one in value:
                visit(one)

    visit(technique)
    return sorted(found)
