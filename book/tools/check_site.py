"""Check the built pages: text alternatives, links, weight; scripts do not clash, nothing comes from elsewhere.

Usage: `python book/tools/check_site.py build/_build/html`; the exit status is 1 when a page has a fault. What only a
browser can tell is tested in `tests/test_site.py`.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag

LIMIT = 4_000_000  # bytes of a page: its HTML with the images and sounds that it shows
MEDIA = "img, audio, video, source, [data-src]"
SHARED = "link[rel=stylesheet], script"
# a file name, which Sphinx puts in where a figure has no alternative, describes nothing
FILE_SUFFIXES = (".png", ".jpg", ".jpeg", ".svg", ".gif", ".webp")
HERE = [rf"(?<![\w.-]){re.escape(str(folder))}\b" for folder in (Path.cwd(), Path.home()) if folder.name]


def faults(page: BeautifulSoup) -> list[str]:
    """What is wrong with one page by itself."""
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
    text = str(page)
    here = {match.group() for pattern in HERE for match in re.finditer(pattern, text)}
    found += [f"names a folder of the machine that built it: {folder}" for folder in sorted(here)]
    ids = Counter(element["id"] for element in page.find_all(id=True))
    return found + [f"id given twice: {name}" for name, count in ids.items() if count > 1]


def targets(elements: Iterable[Tag]) -> list[tuple[str, str]]:
    """The files of this site, relative to the page, and the anchors in them that these elements name."""
    found = []
    for element in elements:
        for attribute in ("href", "src", "poster", "data-src"):
            parts = urlsplit(element.get(attribute) or "")
            if (parts.path or parts.fragment) and not parts.scheme and not parts.netloc:
                found.append((unquote(parts.path), unquote(parts.fragment)))
    return found


def broken(path: Path, page: BeautifulSoup, anchors: dict[Path, set[str]]) -> list[str]:
    """Links of a page to files that are not there, or to anchors that their page lacks."""
    found = []
    for name, fragment in set(targets(page.select(f"a, area, link, script, {MEDIA}"))):
        target = (path.parent / name).resolve() if name else path.resolve()
        if not target.is_file():
            found.append(f"broken link: {name}")
        elif fragment and target in anchors and fragment not in anchors[target]:
            found.append(f"link to a missing anchor: {name}#{fragment}")
    return sorted(found)


def weight(path: Path, elements: Iterable[Tag]) -> int:
    """Bytes of the files that these elements of a page load, each counted once."""
    files = {(path.parent / name).resolve() for name, _ in targets(elements)}
    return sum(file.stat().st_size for file in files if file.is_file())


def colab(config: dict, page: str) -> str:
    """Where Colab finds the notebook of this page, by `_config.yml`."""
    repository = config["repository"]
    name = repository["url"].removeprefix("https://github.com/")
    notebook = f"{name}/blob/{repository['branch']}/{page.removesuffix('.html')}.ipynb"
    return f"{config['launch_buttons']['colab_url']}/github/{notebook}"


def pages(folder: Path) -> list[Path]:
    """The pages below `folder`, without the fragments in `_static`."""
    return sorted(p for p in folder.rglob("*.html") if "_static" not in p.relative_to(folder).parts)


def main(folder: Path) -> int:
    """Print every fault below `folder`; 0 if there is none."""
    pages_ = pages(folder)
    if not pages_:
        print(f"no pages in {folder}")
        return 1
    config, count, heaviest, shared = yaml.safe_load(Path("_config.yml").read_text()), 0, (0, ""), 0
    read = {path.resolve(): BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in pages_}
    anchors = {path: {e.get("id") or e.get("name") for e in page.find_all(True)} for path, page in read.items()}
    for path, page in read.items():
        name = path.relative_to(folder.resolve()).as_posix()
        found = faults(page) + broken(path, page, anchors)
        if name.startswith("notebooks/") and not page.find("a", href=colab(config, name)):
            found.append(f"no button that leads to {colab(config, name)}")
        size = path.stat().st_size + weight(path, page.select(MEDIA))
        if size >= LIMIT:
            found.append(f"weighs {size / 1e6:.2f} MB with its images and sounds; the limit is {LIMIT / 1e6:g} MB")
        heaviest, shared = max(heaviest, (size, name)), max(shared, weight(path, page.select(SHARED)))
        for fault in found:
            print(f"{name}: {fault}")
        count += len(found)
    print(
        f"{len(read)} pages checked, {count} faults; the heaviest, {heaviest[1]}, weighs {heaviest[0] / 1e6:.2f} MB, "
        f"and the styles and scripts that all share {shared / 1e6:.2f} MB"
    )
    return min(count, 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
