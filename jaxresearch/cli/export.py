"""``jaxresearch export DIR --to stablehlo|safetensors``: the models of a run as a file for other programs."""

from pathlib import Path

from jaxresearch import records
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.flags import require_known, taken
from jaxresearch.cli.models import chosen, ensemble_of, file_in_folder, new_file
from jaxresearch.cli.session import configure, one_line

_OPTIONS = "--to FORMAT, --output FILE, --seeds A,B, --encrypt-with FILE and --experiment FILE"


def export(words: list[str]) -> int:
    """Carries out ``jaxresearch export WORDS...``; returns the exit code."""
    configure()
    with one_line(words[0], code=2):
        rest = list(words)
        to, options = taken(rest, "--to", "a format", "stablehlo"), chosen(rest, example="model.stablehlo")
        require_known("export", rest, _OPTIONS)
        if len(rest) != 1:
            raise UsageError(
                f"export needs one directory, got {' '.join(rest) or 'none'}. Write: jaxresearch export DIR --to stablehlo"
            )
        if to not in records.FORMATS:
            raise UsageError(f"--to must be {' or '.join(records.FORMATS)}, got {to or 'none'}. Write: --to stablehlo")
        directory = Path(rest[0])
        file = new_file(directory / f"model.{to}") if options.output is None else file_in_folder(options.output)
        ensemble, cipher = ensemble_of(directory, options)
        make = records.stablehlo if to == "stablehlo" else records.safetensors
        beside = records.write_export(make(ensemble, seeds=options.seeds), file)
    if cipher is not None:
        print(f"{file} holds the weights unencrypted.")
    print(f"{to}: {file}, described in {beside}")
    return 0
