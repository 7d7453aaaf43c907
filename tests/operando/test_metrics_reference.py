from pathlib import Path

from operando.registry import METRICS, reference_markdown

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


def test_the_reference_page_says_what_the_registry_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_markdown()


def test_every_metric_that_carries_a_unit_in_its_name_has_that_unit() -> None:
    endings = {
        "_pct": "%",
        "_mah_cm2": "mAh/cm2",
        "_mah_g": "mAh/g",
        "_ma_cm2": "mA/cm2",
        "_ma_g": "mA/g",
        "_mv_s": "mV/s",
        "_mv_dec": "mV/decade",
        "_mv": "mV",
        "_mw": "mW",
        "_mj": "mJ",
        "_j_cm2": "J/cm2",
        "_v": "V",
        "_ohm": "ohm",
        "_um": "um",
        "_uf": "uF",
        "_umol": "umol",
        "_kj_mol": "kJ/mol",
        "_k": "K",
        "_um_h": "um/h",
        "_px": "px",
        "_nmol_s": "nmol/s",
        "_ppm_h": "ppm/h",
        "_ppm": "ppm",
        "_ma": "mA",
        "_ua": "uA",
        "_cm1": "cm-1",
        "_nl": "nL",
        "_nm": "nm",
        "_ns": "ns",
        "_ug_mc": "ug/mC",
        "_nc": "nC",
        "_h": "h",
        "_s": "s",
    }
    for name, definition in METRICS.items():
        unit = next((unit for end, unit in endings.items() if name.endswith(end)), "1")
        assert definition.unit == unit, name
