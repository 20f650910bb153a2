"""
How sphinx makes a site of these pages: C{make docs}.

The page of commands is written from the commands themselves at each build, so
it is in no checkout.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

# The folder above has to be on the path first.
from tools.commands import page  # noqa: E402

(HERE / "commands.md").write_text(page())

project = "sipxha"
version = release = installed("sipxha")
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
html_theme = "alabaster"
html_title = f"sipxha {release}"
html_theme_options = {
    "description": "A small PBX core that keeps basic calling alive when a server dies",
    "page_width": "1100px",
    "sidebar_width": "240px",
    "fixed_sidebar": True,
    "font_family": "system-ui, sans-serif",
    "head_font_family": "system-ui, sans-serif",
}
html_static_path = ["_static"]
html_css_files = ["sipxha.css"]
html_show_sourcelink = False
html_copy_source = False
# Headings are linked to as GitHub names them.
myst_heading_anchors = 4
