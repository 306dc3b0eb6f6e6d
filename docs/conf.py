"""Settings of the documentation: `make docs` builds it, without a network."""

import importlib
import re
from pathlib import Path

from docutils import nodes
from math_core import LatexToMathML
from sphinx.util import logging

import jaxresearch

project = "jaxresearch"
author = "The jaxresearch authors"
copyright = author
version = release = jaxresearch.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "pictures"]
templates_path = ["_templates"]
nitpicky = True
# Other packages have their own references, which a build without a network cannot look up.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!jaxresearch\.).*"),
    (r"py:class", r"jaxresearch\.(experiment|hyperparameters)\.H"),  # a type variable
    (r"py:class", r"jaxresearch\.records\.\w+\..*"),  # returned, but not exported
    (r"py:class", r"jaxresearch\.fields\.molecules\.grammar\.Atom"),  # taken, but not exported
]
default_role = "py:obj"  # single backticks in docstrings name something of Python

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

html_theme = "sphinx_book_theme"
html_title = "jaxresearch"
html_math_renderer = "mathml"  # a browser draws it without a script; MathJax would come from the network
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navbar_persistent": [],
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

_MODULES = re.findall(r"^   (jaxresearch\.\S+)$", (Path(__file__).parent / "reference" / "api.md").read_text(), re.M)
# A package is documented by the names it exports, a module by those it defines.
autosummary_context = {
    "packages": [name for name in _MODULES if hasattr(importlib.import_module(name), "__all__")],
}


def shorten(app, what, name, thing, options, signature, returns):
    """Returns a signature with arrays under their public name."""
    return tuple(text and text.replace("jaxlib._jax.Array", "Array") for text in (signature, returns))


_MATHML = LatexToMathML()


def write_math(writer, node):
    """Writes a formula as MathML; an unknown LaTeX command is an error."""
    is_block = isinstance(node, nodes.math_block)
    writer.body.append(_MATHML.convert_with_local_state(node.astext(), displaystyle=is_block))
    raise nodes.SkipNode


def require_no_network(app, exception):
    """Warns about pages that load a script, style sheet or picture from another site."""
    remote = re.compile(r'(?:\ssrc|<link\b[^>]*\shref)="((?:https?:)?//[^"]+)"')
    if exception is None and app.builder.format == "html":
        for page in Path(app.outdir).rglob("*.html"):
            for address in remote.findall(page.read_text()):
                logging.getLogger(__name__).warning("%s loads %s: pages must need no network", page.name, address)


def setup(app):
    """Connects what changes signatures, what writes formulas and what checks the pages."""
    app.connect("autodoc-process-signature", shorten)
    app.connect("build-finished", require_no_network)
    app.add_html_math_renderer("mathml", (write_math, None), (write_math, None))
