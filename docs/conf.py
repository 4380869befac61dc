"""How Sphinx makes a site of this folder; ``make docs`` starts it."""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parent), str(_HERE / "_ext")]

from machpay import __version__  # noqa: E402 - this checkout's, not an installed one

project = "MachPay Streams"
author = "The MachPay authors"
project_copyright = "2026, the MachPay authors"
release = version = __version__
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "http_api",
    "node_api",
    "python_api",
    "repository_links",
]
exclude_patterns = ["_ext", "_build"]
nitpicky = True
# Names of others have no page here, and their own sites are elsewhere.
nitpick_ignore_regex = [(r"py:.*", r"(?!machpay\b).*"), ("py:class", r"machpay\.skill\.[HV]")]
# What the guide prints is printed as it is, also where a lexer does not know a character of it.
suppress_warnings = ["misc.highlighting_failure"]

# Anchors as GitHub makes them, so that a link works there and here.
myst_heading_anchors = 4
# For the anchors that node_api makes: `[]{#name}`.
myst_enable_extensions = ["attrs_inline"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"MachPay Streams {release}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

# `make docs-links` asks other sites; what is an example is not asked.
linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost)(:\d+)?(/|$)"]
linkcheck_timeout = 20
