"""The errors whose text is meant for a person: it names the file, the key, the value and what to do."""


class ConfigError(Exception):
    """A wrong configuration: the run does not start."""


class StageError(Exception):
    """Something that a stage met and the user can mend: its cell fails."""


class Unverified(Exception):
    """What a stage is to exercise cannot be had on this machine: its cell is unverified.

    Attributes:
        lasting: whether another try ends in the same: it is the software that does not tell, and nothing is missing.
    """

    def __init__(self, message: str, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting
