"""Emulated devices whose answers fail when somebody says so."""

from typing import Generic, TypeVar

_Fault = TypeVar("_Fault")


class Misbehaving(Generic[_Fault]):
    """What is wrong with the next answers; nothing at first."""

    def __init__(self) -> None:
        self._faults: list[_Fault] = []
        self._fault: _Fault | None = None

    def misbehave(self, fault: _Fault, *, times: int | None = None) -> None:
        """Misbehave in the next answers, as often as `times` says, or until `behave`."""
        if times is None:
            self._fault = fault
        else:
            self._faults += [fault] * times

    def behave(self) -> None:
        """Be well again."""
        self._fault = None
        self._faults.clear()

    def _coming_fault(self) -> _Fault | None:
        """What the next answer suffers from."""
        return self._faults[0] if self._faults else self._fault

    def _take_fault(self) -> _Fault | None:
        """The same; this answer is the next one."""
        fault = self._coming_fault()
        del self._faults[:1]
        return fault
