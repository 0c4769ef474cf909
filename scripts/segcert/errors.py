"""The errors whose text is meant for a person: it names the file, the key, the value and what to do."""

from __future__ import annotations

from collections.abc import Sequence

MOST_FAULTS = 20  # told of in one message


class ConfigError(Exception):
    """A wrong configuration: the run does not start."""


class StageError(Exception):
    """Something that a stage met and the user can mend: its cell fails."""

    @classmethod
    def of(cls, what: str, faults: Sequence[str]) -> StageError:
        """One error for all faults of something, of which the first MOST_FAULTS are told."""
        if len(faults) == 1:
            return cls(f"{what}: {faults[0]}")
        told = " ".join(f"({number}) {fault};" for number, fault in enumerate(faults[:MOST_FAULTS], 1))
        more = f" and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        return cls(f"{what}: {len(faults)} faults: {told.removesuffix(';') if not more else told}{more}")


class Unverified(Exception):
    """What a stage is to exercise cannot be had on this machine: its cell is unverified.

    Attributes:
        lasting: whether another try ends in the same: it is the software that does not tell, and nothing is missing.
    """

    def __init__(self, message: str, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting
