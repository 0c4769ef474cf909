"""What a run shows of its jobs, where no logger plugin shows it: a line when one starts, a line when it ends.

Snakemake's own blocks, with every path, are in .snakemake/log/, and with --verbose on the screen.
"""

import logging

from segcert.show import screen
from snakemake.logging import ColorizingTextHandler, logger


class Screen(ColorizingTextHandler):
    """Snakemake's handler for the terminal, with lines in place of blocks."""

    def __init__(self, former):
        super().__init__(former.nocolor, former.stream, former.formatter)
        self.name = former.name
        self.filters = former.filters
        self.lines = screen.Lines(dry=workflow.output_settings.dryrun)

    def emit(self, record):
        event = getattr(record, "event", None)
        line = self.lines.of(event and event.value, vars(record))
        if line is None:
            super().emit(logging.makeLogRecord(screen.shortened(vars(record))))
        elif line:
            with self._output_lock:
                self.stream.write(f"{self.decorate(record, line)}{self.terminator}")
                self.flush()


if (
    workflow.is_main_process
    and workflow.modifier.is_main_snakefile()
    and not workflow.output_settings.verbose
):
    for handler in [handler for handler in logger.handlers if type(handler) is ColorizingTextHandler]:
        logger.removeHandler(handler)
        logger.addHandler(Screen(handler))
