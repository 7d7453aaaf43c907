import contextlib

import pytest
import serial

from sim_devices.relay_board import RelayBoard


@pytest.fixture
def contacts():
    return []


@pytest.fixture
def board(contacts):
    wired = {0: lambda closed: contacts.append((0, closed))}
    wired[2] = lambda closed: contacts.append((2, closed))
    with contextlib.closing(RelayBoard(on_relay=wired, gpio_level={3: lambda: True})) as board:
        yield board


@pytest.fixture
def say(board):
    """A terminal program that is not ours: write a command and CR, read to the prompt."""
    url = board.address.removeprefix("serial://").replace("tcp://", "socket://")
    with serial.serial_for_url(url, timeout=50) as port:

        def dialogue(command):
            port.write(command.encode("ascii") + b"\r")
            return port.read_until(b">")

        yield dialogue


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("ver", b"ver\n\r00000009\n\r>"),
        ("id get", b"id get\n\r00000000\n\r>"),
        ("relay read 0", b"relay read 0\n\roff\n\r>"),
        ("relay on 0", b"relay on 0\n\r>"),
        ("relay readall", b"relay readall\n\r0000\n\r>"),
        ("gpio read 3", b"gpio read 3\n\r1\n\r>"),
        ("gpio read 4", b"gpio read 4\n\r0\n\r>"),
        ("gpio set 4", b"gpio set 4\n\r>"),
        ("adc read 3", b"adc read 3\n\r1023\n\r>"),
        ("adc read 0", b"adc read 0\n\r0\n\r>"),
        ("reset", b"reset\n\r>"),
    ],
)
def test_each_command_is_echoed_answered_and_followed_by_the_prompt(say, command, answer):
    assert say(command) == answer


@pytest.mark.parametrize(
    "command", ["", "bogus", "relay on", "relay on G", "relay on 16", "gpio read A", "adc read 5"]
)
def test_what_the_module_does_not_know_gets_the_prompt_alone(say, contacts, command):
    assert say(command) == command.encode("ascii") + b"\n\r>"
    assert contacts == []


def test_a_relay_closes_opens_and_reads_back(say, contacts):
    say("relay on 2")
    assert say("relay read 2") == b"relay read 2\n\ron\n\r>"
    say("relay on 2")  # is closed already
    say("relay off 2")
    assert say("relay read 2") == b"relay read 2\n\roff\n\r>"
    assert contacts == [(2, True), (2, False)]


def test_channels_above_nine_are_letters_and_masks_are_hexadecimal(say, board):
    say("relay on F")
    assert board.relay(15)
    assert say("relay readall") == b"relay readall\n\r8000\n\r>"
    say("relay writeall 0401")
    assert [n for n in range(16) if board.relay(n)] == [0, 10]


def test_an_output_reads_back_until_it_is_read_as_an_input(say):
    say("gpio set 4")
    assert say("adc read 4") == b"adc read 4\n\r1023\n\r>"
    assert say("gpio read 4") == b"gpio read 4\n\r0\n\r>"


def test_the_identity_can_be_set(say):
    say("id set bench001")
    assert say("id get") == b"id get\n\rbench001\n\r>"


def test_reset_power_cycle_and_closing_open_every_relay(say, board, contacts):
    say("relay on 0")
    say("reset")
    assert contacts == [(0, True), (0, False)]
    say("relay on 0")
    board.line.inject("power-cycle", seconds=0.05)
    assert contacts[2:] == [(0, True), (0, False)]
    assert not board.relay(0)


def test_a_command_may_come_in_pieces(board):
    url = board.address.removeprefix("serial://").replace("tcp://", "socket://")
    with serial.serial_for_url(url, timeout=50) as port:
        for piece in (b"rel", b"ay rea", b"d 0", b"\r"):
            port.write(piece)
            port.flush()
        assert port.read_until(b">") == b"relay read 0\n\roff\n\r>"


def test_it_speaks_over_tcp_where_there_is_no_terminal():
    with contextlib.closing(RelayBoard(prefer_pty=False)) as board:
        url = board.address.replace("tcp://", "socket://")
        with serial.serial_for_url(url, timeout=50) as port:
            port.write(b"ver\r")
            assert port.read_until(b">") == b"ver\n\r00000009\n\r>"
