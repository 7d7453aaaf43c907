"""Which commands there are: the bit numbers with which the instrument tells what it can do.

`CM` answers with a bit for every script command, `CC` with a bit for every command of the line,
both as 64 hexadecimal digits of one integer.
"""

from __future__ import annotations

from collections.abc import Iterable

# A script command's bit is its place in this text; a dot is a number that is not given out.
_SCRIPT_COMMANDS = """
. var array store_var copy_var add_var sub_var mul_var div_var set_e set_int await_int wait loop
endloop breakloop if else elseif endif get_time meas . meas_loop_lsv meas_loop_cv meas_loop_dpv
meas_loop_swv meas_loop_npv meas_loop_ca meas_loop_pad meas_loop_ocp meas_loop_eis set_autoranging
pck_start pck_add pck_end set_max_bandwidth set_cr cell_on cell_off set_pgstat_mode send_string
set_pgstat_chan set_gpio_cfg set_gpio_pullup set_gpio get_gpio set_pot_range . set_poly_we_mode
file_open file_close set_script_output array_get array_set i2c_config i2c_read_byte i2c_write_byte
i2c_read i2c_write i2c_write_read hibernate abort timer_start timer_get set_range set_range_minmax
meas_loop_cp set_i meas_loop_lsp meas_loop_geis int_to_float float_to_int bit_and_var bit_or_var
bit_xor_var bit_lsl_var bit_lsr_var bit_inv_var set_channel_sync set_acquisition_frac mux_config
mux_get_channel_count mux_set_channel set_gpio_msk get_gpio_msk set_e_aux . set_ir_comp .
meas_fast_cv set_acquisition_frac_autoadjust alter_vartype meas_loop_acv meas_ms_eis meas_fast_ca
mod_var notify_led set_scan_dir meas_loop_ca_alt_mux meas_loop_cp_alt_mux meas_loop_ocp_alt_mux
smooth peak_detect set_bipot_mode set_bipot_potential meas_loop_eis_dual rtc_get . beep
battery_perc get_progress pow_var subarray log_var linear_fit mean trim_enable meas_scp
display_text display_btns display_clear display_progress display_icon display_draw display_inp_num
display_scroll_add display_scroll_get display_keyboard qr_scan str store_str load_saved_start
load_saved_end load_saved_var load_saved_str save_var save_str float_to_int_round
display_filebrowse droplet_detect_loop str_find str_length str_parse_float str_parse_int
"""
SCRIPT_COMMAND_BITS = {
    name: bit for bit, name in enumerate(_SCRIPT_COMMANDS.split()) if name != "."
}

LINE_COMMAND_BITS = {
    "t": 1,
    "CC": 32,
    "CM": 33,
    "S": 34,
    "G": 35,
    "l": 36,
    "r": 37,
    "e": 38,
    "Fmscr": 43,
    "Lmscr": 44,
    "i": 48,
    "v": 49,
    "fs_dir": 51,
    "fs_get": 52,
    "fs_put": 53,
    "fs_del": 54,
    "fs_info": 55,
    "fs_format": 56,
    "fs_mount": 57,
    "fs_unmount": 58,
    "fs_clear": 59,
    "m": 60,
    "h": 96,
    "H": 97,
    "Z": 98,
    "Y": 99,
    "R": 101,
}

# Commands other instruments or other firmware have; a script that uses one is refused with 001B.
ABSENT_COMMANDS = frozenset(SCRIPT_COMMAND_BITS)


def bit_field(names: Iterable[str], bits: dict[str, int]) -> str:
    """Return the 64 hexadecimal digits that say these names."""
    return f"{sum(1 << bits[name] for name in names):064X}"
