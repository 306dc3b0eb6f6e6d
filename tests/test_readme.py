"""The README is short and its tree is complete; `tests/docs` runs its code."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_readme_is_two_screens():
    assert len(README.split()) < 900


def test_every_link_leads_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.relative_to(ROOT)} links to {link}"


def test_the_tree_names_what_is_there():
    tree = README.split("## Layout")[1]
    for path in (ROOT / "jaxresearch").iterdir():
        if path.suffix == ".py" and not path.name.startswith("__") or (path / "__init__.py").is_file():
            assert re.search(rf"^  {path.name}/? ", tree, re.M), f"{path.name} is not in the README's tree"
