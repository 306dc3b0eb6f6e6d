"""``jaxresearch export DIR --to stablehlo|safetensors``: the models of a run as a file for other programs."""

from pathlib import Path

from jaxresearch import loading, records
from jaxresearch.cli.flags import require_known, taken
from jaxresearch.cli.options import UsageError
from jaxresearch.cli.predict import chosen_seeds, cipher_of, file_in_folder, new_file
from jaxresearch.cli.session import configure, one_line

_OPTIONS = "--to FORMAT, --output FILE, --seeds A,B, --encrypt-with FILE and --experiment FILE"


def export(words: list[str]) -> int:
    """Carries out ``jaxresearch export WORDS...``; returns the exit code."""
    configure()
    with one_line(words[0], code=2):
        rest = list(words)
        to, output = taken(rest, "--to", "a format", "stablehlo"), taken(rest, "--output", "a file", "model.stablehlo")
        seeds, key = taken(rest, "--seeds", "seeds", "0,1,2"), taken(rest, "--encrypt-with", "a key file", "KEYFILE")
        experiment = taken(rest, "--experiment", "a file", "my.py")
        require_known("export", rest, _OPTIONS)
        if len(rest) != 1:
            raise UsageError(
                f"export needs one directory, got {' '.join(rest) or 'none'}. Write: jaxresearch export DIR --to stablehlo"
            )
        if to not in records.FORMATS:
            raise UsageError(f"--to must be {' or '.join(records.FORMATS)}, got {to or 'none'}. Write: --to stablehlo")
        directory = Path(rest[0])
        file = new_file(directory / f"model.{to}") if output is None else file_in_folder(output)
        cipher = cipher_of(directory, key)
        declared = None if experiment is None else loading.load(experiment)
        ensemble = records.read_ensemble(directory, cipher=cipher, experiment=declared)
        make = records.stablehlo if to == "stablehlo" else records.safetensors
        beside = records.write_export(make(ensemble, seeds=chosen_seeds(seeds)), file)
    if cipher is not None:
        print(f"{file} holds the weights unencrypted")
    print(f"{to}: {file}, described in {beside}")
    return 0
