"""The project's addresses, which `_config.yml` alone names. Everything else is in `pyproject.toml`."""

import re
from pathlib import Path

from setuptools import setup

CONFIG = Path(__file__).with_name("_config.yml").read_text()
REPOSITORY, BOOK = (re.search(rf"^  {key}: (\S+)$", CONFIG, re.MULTILINE)[1] for key in ("url", "baseurl"))

setup(project_urls={"Book": BOOK, "Repository": REPOSITORY, "Issues": f"{REPOSITORY}/issues"})
