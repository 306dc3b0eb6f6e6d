"""Takes the pictures of the gallery from the pages and runs that its commands left: ``python docs/pictures.py FOLDER``."""

import re
import shutil
import sys
from pathlib import Path

PICTURES = Path(__file__).with_name("pictures")
CHART = re.compile(r'<svg role="img" aria-label="([^"]*)".*?</svg>', re.S)
OF_RUN = {"loss": "Line chart of loss,", "log_loss": "Line chart of log_loss,", "confusion": "Confusion matrix"}


def charts(page):
    """Returns the drawings of a page by their descriptions."""
    return {found[1]: found[0] for found in CHART.finditer(page.read_text())}


def keep(folder):
    """Writes the pictures of the runs in a folder."""
    PICTURES.mkdir(exist_ok=True)
    shutil.copyfile(folder / "runs/sweep/sweep.png", PICTURES / "sweep.png")
    report = folder / "runs/small/report.html"
    for name, start in OF_RUN.items():
        (drawn,) = [svg for said, svg in charts(report).items() if said.startswith(start)]
        (PICTURES / f"{name}.svg").write_text(drawn)
    (compared,) = [
        svg for said, svg in charts(folder / "comparison.html").items() if said.startswith(OF_RUN["log_loss"])
    ]
    (PICTURES / "compared.svg").write_text(compared)
    (wrong,) = re.findall(r'<div class="images">.*?</div>', report.read_text(), re.S)
    (PICTURES / "wrong.html").write_text(wrong)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
