"""No lie gets through: good data sets under random changes are read as they were meant, or refused by name."""

import tempfile
from pathlib import Path

import mutations
import reading
from hypothesis import HealthCheck, event, given, settings

from segcert.errors import StageError

SLOW = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much)


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(mutations.changed())
def test_what_passes_is_what_was_meant(capfd, made):
    capfd.readouterr()  # of what drew the example
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            found = reading.unpack(folder, mutations.pack(made, folder), made.layout)
        except StageError as error:
            assert not (folder / "staging/dataset").exists()
            require_named(made, str(error), folder)
        else:
            told = "\n".join(found.metrics["notes"])
            assert "EXIF orientation" in told or not made.doubtful(), told
            read(made, folder)
        assert capfd.readouterr().err == "", "what decoders print is told, or it is nothing"


def read(made, folder):
    try:
        reading.assert_same(folder / "staging/dataset", made.meant(), made.layout)
    except StageError as error:
        event("refused by the training")
        require_named(made, str(error), folder)
    else:
        event("read as it was meant")


def require_named(made, message, folder):
    """Only what is odd is refused, by a word that the change left."""
    event("refused")
    message.encode()  # so that a record can hold it
    assert made.odd, message
    words = {form for word in made.words for form in (word, ascii(word)[1:-1], repr(word)[1:-1])}
    assert any(word in message for word in words), (message, made.words)
    within = message.replace(f"{folder}/staging/dataset", "d").replace(f"{folder}/d.tar", "d.tar")
    assert str(folder) not in within.replace(f"{folder}/archive.", "archive."), message
