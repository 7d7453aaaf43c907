from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_devices.methodscript.capabilities import LINE_COMMAND_BITS, SCRIPT_COMMAND_BITS
from sim_devices.methodscript.errors import MEANINGS, LoadError
from sim_devices.methodscript.language import COMMANDS, Loader

WORDS = [
    *sorted(COMMANDS),
    *("on_finished:", "x", "a", "a[0i]", "a[x]", "a[y]", "y", "ab", "ba", "ja", "zz", "0", "3i"),
    *("-1m", "0x1F", "0b2", "1.5", "<", "==", "&", '"text"', 'f"{x}"', 'f"{"', "# comment", ""),
    *("nscans(2)", "nscans()", "nscans(x)", "ocp(x)", "ocp()", "ocp(1)", "ocp( )", "[", "]", "-"),
]
STATEMENTS = [
    *("var x", "array a 3i", "if x < 1", "else", "endif", "loop x < 1", "endloop", "breakloop"),
    *("meas_loop_ocp x 1 1", "pck_start", "pck_add x", "pck_end", "on_finished:", "abort"),
    *("add_var x 1", "copy_var a[0i] x", "timer_get x", 'send_string f"{x}"', "elseif x > 1"),
]


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(STATEMENTS),
            st.lists(st.sampled_from(WORDS), max_size=7).map(" ".join),
            st.text(min_size=1, max_size=30),
        ),
        max_size=15,
    )
)
def test_every_script_is_compiled_or_refused_with_a_code_and_a_place(lines):
    loader = Loader()
    refusal = program = None
    try:
        for line in lines:
            loader.line(line)
        program = loader.finish()
    except LoadError as error:
        refusal = error
    if refusal is None:
        assert program is not None
        assert callable(program.function)
    else:
        assert refusal.code in MEANINGS
        assert 1 <= refusal.line <= len(lines) + 1
        assert refusal.column >= 1


def test_the_bits_of_capabilities_are_those_of_documented_answers():
    # The sheet decoded these from the answer of a real instrument.
    known = {"set_gpio": 45, "meas_loop_cp": 67, "set_i": 68, "meas_loop_lsp": 69}
    known |= {"meas_loop_geis": 70, "set_bipot_mode": 104}
    assert {name: SCRIPT_COMMAND_BITS[name] for name in known} == known
    assert set(SCRIPT_COMMAND_BITS) >= COMMANDS
    assert LINE_COMMAND_BITS["Z"] == 98


@pytest.mark.parametrize("word", ["mean", "wait", "loop", "meas_loop_ca", "smooth"])
def test_a_word_of_the_language_is_no_name(word):
    with pytest.raises(LoadError) as refused:
        Loader().line(f"var {word}")
    assert refused.value.code == "402B"
    Loader().line(f"var {word}_a")


@pytest.mark.parametrize(
    ("besides", "code"),
    [
        ("add_meas(0 ag x)", None),
        ("add_meas(0i ac x)", None),
        ("add_meas(1 ag x)", "401A"),
        ("add_meas(0 ba x)", "4209"),
        ("add_meas(0 ag)", "4004"),
        ("add_meas()", "4004"),
        ("add_meas(0 ag nobody)", "420B"),
        ("add_meas(0 ag x) add_meas(0 ag x)", "4008"),
    ],
)
def test_a_loop_measures_the_cell_besides_or_refuses_to(besides, code):
    loader = Loader()
    for line in ("var p", "var c", "var x"):
        loader.line(line)
    loop = f"meas_loop_ca p c 0 1 10 {besides}"
    if code is None:
        loader.line(loop)
        return
    with pytest.raises(LoadError) as refused:
        loader.line(loop)
    assert refused.value.code == code


def test_an_impedance_loop_measures_nothing_besides():
    loader = Loader()
    for line in ("var f", "var r", "var i", "var x"):
        loader.line(line)
    with pytest.raises(LoadError) as refused:
        loader.line("meas_loop_eis f r i 5m 1k 1 10i 0 add_meas(0 ag x)")
    assert refused.value.code == "4008"
