"""Sphinx extension: pages that work without a kernel, without a network and without console errors."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urljoin
from xml.sax.saxutils import escape

FRONT_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="_static/favicon.svg">
<link rel="canonical" href="{address}">
<meta http-equiv="refresh" content="0; url={page}">
<p><a href="{page}">{title}</a></p>
</html>
"""


# What the theme and Sphinx write, and what it should be: roles of a list, the sidebar as a landmark, a name.
MENDED = {
    'role="doc-biblioentry"': 'role="listitem"',
    '<div class="bd-sidebar-primary bd-sidebar">': '<div class="bd-sidebar-primary bd-sidebar" role="navigation" '
    'aria-label="Book">',
    '<summary><span class="toctree-toggle"': '<summary aria-label="Pages below"><span class="toctree-toggle"',
}


def share_address(app, config) -> None:
    """Give the social-media tags the address that the canonical links have."""
    config.ogp_site_url = config.html_baseurl


def drop_thebe(app, pagename, templatename, context, doctree) -> None:
    """Take out the live-code scripts: they are injected twice, which is a script error on every page."""
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "thebe" not in str(script.filename) and "thebe_selector" not in script.attributes.get("body", "")
    ]


def keep_first_sentence(app, what, name, obj, options, lines) -> None:
    """Start attributes' docstrings with an empty comment: a colon in a first line would make its words a type."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]


def mend(app, exception) -> None:
    """Mend the markup of the pages, so that who reads with a screen reader finds their parts."""
    if exception is not None or app.builder.name != "html":
        return
    for page in app.builder.env.found_docs | {"genindex", "py-modindex", "search"}:
        path = Path(app.builder.get_outfilename(page))
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            for old, new in MENDED.items():
                text = text.replace(old, new)
            if page == "search":  # its field and the dialog's have one id
                text = text.replace('id="search-input"', 'id="search-dialog-input"', 1)
            path.write_text(text, encoding="utf-8")


def write_entry_files(app, exception) -> None:
    """Write `sitemap.xml`, and an `index.html` that leads to the first page and has an icon of its own."""
    if exception is not None or app.builder.name != "html":
        return
    base, target = app.config.html_baseurl, app.builder.get_target_uri
    rows = "".join(
        f"  <url><loc>{escape(urljoin(base, target(page)))}</loc></url>\n" for page in sorted(app.env.found_docs)
    )
    head = '<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    Path(app.outdir, "sitemap.xml").write_text(f"{head}{rows}</urlset>\n", encoding="utf-8")
    first = target(app.config.root_doc)
    front = FRONT_PAGE.format(title=escape(app.config.html_title), page=first, address=urljoin(base, first))
    Path(app.outdir, "index.html").write_text(front, encoding="utf-8")


def setup(app) -> dict:
    """Register with Sphinx: before or after the extensions (priority 500) that the handlers prepare or mend."""
    app.connect("config-inited", share_address, priority=100)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("autodoc-process-docstring", keep_first_sentence, priority=100)
    app.connect("build-finished", mend, priority=900)
    app.connect("build-finished", write_entry_files, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
