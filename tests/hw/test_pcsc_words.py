"""What PC/SC's codes come to in words, and what the lamps of ACS's readers are sent: tables, no daemon."""

import pytest

from agent.model import Signal
from hw.readers import pcsc_trouble as pcsc
from hw.readers.pcsc_acs import DARK, commands_for, look_of
from hw.readers.pcsc_trouble import Trouble, trouble_of

ACR122U = "ACS ACR122U PICC Interface 00 00"
ACR1252U = "ACS ACR1252 1S CL Reader [ACR1252 Dual Reader PICC] 00 00"


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (pcsc.NO_SERVICE, Trouble.NO_DAEMON),
        (pcsc.COMM_ERROR, Trouble.NO_DAEMON),
        (pcsc.SERVICE_STOPPED, Trouble.NO_DAEMON),
        (pcsc.INVALID_HANDLE, Trouble.NO_DAEMON),
        (pcsc.SECURITY_VIOLATION, Trouble.FORBIDDEN),
        (pcsc.NO_ACCESS, Trouble.FORBIDDEN),
        (0x80100001, Trouble.UNUSABLE),
    ],
)
def test_each_code_names_its_trouble(code: int, trouble: Trouble) -> None:
    assert trouble_of(code, at_start=False) is trouble


def test_a_daemon_that_hangs_up_on_the_first_call_is_not_called_missing() -> None:
    assert trouble_of(pcsc.COMM_ERROR, at_start=True) is Trouble.HUNG_UP


@pytest.mark.parametrize("code", [-2146435043, 0x8010001D])
def test_a_code_is_the_same_with_and_without_a_sign(code: int) -> None:
    assert pcsc.unsigned(code) == pcsc.NO_SERVICE


def test_a_refused_user_is_told_the_polkit_actions() -> None:
    told = Trouble.FORBIDDEN.value.format(cause="Access denied")
    assert "polkit" in told
    assert "org.debian.pcsc-lite.access_pcsc" in told
    assert "org.debian.pcsc-lite.access_card" in told


@pytest.mark.parametrize("trouble", Trouble)
def test_every_trouble_says_its_cause_and_what_to_do(trouble: Trouble) -> None:
    told = trouble.value.format(cause="the cause")
    assert "(the cause)" in told
    assert len(told.split()) > 8


@pytest.mark.parametrize(
    ("signal", "sent"),
    [
        (Signal.READY, "FF00400E0400000000"),
        (Signal.ASKING, "FF00400F0400000000"),
        (Signal.ACCEPTED, "FF0040AE0401010101"),
        (Signal.REFUSED, "FF00405D0401010201"),
        (Signal.FAULT, "FF00400D0400000000"),
    ],
)
def test_an_acr122u_is_sent_the_bytes_of_its_manual(signal: Signal, sent: str) -> None:
    assert commands_for(ACR122U, look_of(signal)) == [bytes.fromhex(sent)]


@pytest.mark.parametrize(
    ("signal", "sent"),
    [
        (Signal.READY, ["E00000290102"]),
        (Signal.ASKING, ["E00000290103"]),
        (Signal.ACCEPTED, ["E00000290102", "E0000028010A"]),
        (Signal.REFUSED, ["E00000290101", "E00000280128"]),
    ],
)
def test_an_acr1252u_is_sent_the_bytes_of_its_manual(signal: Signal, sent: list[str]) -> None:
    assert commands_for(ACR1252U, look_of(signal)) == [bytes.fromhex(command) for command in sent]


def test_an_acr122u_goes_dark() -> None:
    assert commands_for(ACR122U, DARK) == [bytes.fromhex("FF00400C0400000000")]


@pytest.mark.parametrize("name", ["Virtual PCD 00 00", "ACS ACR1252 Dual Reader [ACR1252 Dual Reader SAM] 00 01"])
def test_a_reader_without_a_lamp_that_we_know_is_sent_nothing(name: str) -> None:
    assert [commands_for(name, look_of(signal)) for signal in Signal] == [[]] * len(Signal)


def test_accepted_and_refused_differ() -> None:
    assert commands_for(ACR122U, look_of(Signal.ACCEPTED)) != commands_for(ACR122U, look_of(Signal.REFUSED))
