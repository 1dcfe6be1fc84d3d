"""Run folders side by side: `python compare.py fashion_mnist-lenet5 by=test/accuracy output=page.html`.

`python compare.py --help` lists what can be asked. It reads CSV, JSON and YAML alone, and writes into no run folder.
"""

import sys
from typing import TYPE_CHECKING, Any

from settings.commands.compare import COMMAND, Comparison, compose_jobs
from settings.commands.launch import launch
from settings.errors import UserError

if TYPE_CHECKING:
    from reports.comparison.result import Result


def compare(*arguments: str) -> "Result":
    """Do as `python compare.py ARGUMENTS` does; return rows, columns, tests and notes.

    Raises:
        UserError: a mistake in the arguments, no such run, or a file that cannot be written.
    """
    (job,) = compose_jobs(arguments, multirun=False)
    return run(job)


def run(job: Comparison) -> "Result":
    """Compare, print, write."""
    from reports.comparison.result import compare_runs
    from reports.comparison.table import print_terminal

    result = compare_runs(job)
    print_terminal(result)
    for output in job.outputs:
        write: Any
        if output.suffix.lower() == ".html":
            from reports.comparison.page import write
        else:
            from reports.comparison.table import write
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            write(result, output)
        except OSError as error:
            raise UserError(f"output={output}: cannot be written ({error.strerror or error})") from error
        print(f"table: {output}", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(launch(run, sys.argv[1:], compose_jobs=compose_jobs, help_page=COMMAND.format_help))
