import enum
import re
from importlib.metadata import version as _version

import attrs
from sphinx.util.inspect import object_description

project = "pyade"
author = "The pyade authors"
copyright = "2026, the pyade authors"
release = _version("pyade-apple")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"pyade {release}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]


def _show_enum_members(*event):
    # Members have no docstrings of their own, but their values are Apple's words.
    return False if isinstance(event[3], enum.Enum) else None


def _show_attrs_defaults(*event):
    # The source of an __init__ that attrs wrote says nothing: put the values in.
    _, _, _, cls, _, signature, returned = event
    if not isinstance(cls, type) or not attrs.has(cls):
        return None
    fields = attrs.fields_dict(cls)
    shown = re.sub(
        r"attr_dict\['(\w+)'\]\.default",
        lambda match: object_description(fields[match[1]].default),
        signature or "",
    )
    return shown.replace("NOTHING", "..."), returned


def setup(app):
    """Connect what shows more than autodoc does by itself."""
    app.connect("autodoc-skip-member", _show_enum_members)
    app.connect("autodoc-process-signature", _show_attrs_defaults)
