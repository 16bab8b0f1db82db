"""Check the built pages: images have text alternatives, scripts do not clash, nothing comes from elsewhere.

Usage: `python book/tools/check_site.py build/_build/html`; the exit status is 1 when a page has a fault.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

from bs4 import BeautifulSoup

# a file name, which Sphinx puts in where a figure has no alternative, describes nothing
FILE_SUFFIXES = (".png", ".jpg", ".jpeg", ".svg", ".gif", ".webp")


def faults(html: str) -> list[str]:
    """What is wrong with one page."""
    page = BeautifulSoup(html, "html.parser")
    found = []
    for image in page.find_all("img"):
        alt = (image.get("alt") or "").strip()
        if not alt or alt.lower().endswith(FILE_SUFFIXES):
            found.append(f"image without a text alternative: {image.get('src', '')[:80]} (alt={alt[:80]!r})")
    for tag, attribute in (("script", "src"), ("img", "src"), ("link", "href"), ("audio", "src")):
        for element in page.find_all(tag):
            address = element.get(attribute) or ""
            loaded = tag != "link" or "stylesheet" in element.get("rel", [])
            if loaded and address.startswith(("http:", "https:", "//")):
                found.append(f"needs a network: <{tag} {attribute}={address!r}>")
    scripts = page.find_all("script")
    files = Counter(s["src"] for s in scripts if s.get("src"))
    names = Counter(name for s in scripts for name in re.findall(r"(?:^|;)\s*const\s+(\w+)", s.text))
    found += [f"script loaded twice: {name}" for name, count in files.items() if count > 1]
    found += [f"constant declared twice, a script error: {name}" for name, count in names.items() if count > 1]
    return found


def main(folder: Path) -> int:
    """Print every fault below `folder`; 0 if there is none."""
    pages = sorted(p for p in folder.rglob("*.html") if "_static" not in p.relative_to(folder).parts)
    if not pages:
        print(f"no pages in {folder}")
        return 1
    count = 0
    for path in pages:
        for fault in faults(path.read_text(encoding="utf-8")):
            print(f"{path.relative_to(folder)}: {fault}")
            count += 1
    print(f"{len(pages)} pages checked, {count} faults")
    return min(count, 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
