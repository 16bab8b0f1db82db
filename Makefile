# make book: execute the chapters and build the pages. make test: everything that must pass.
# The environment is .venv, made and filled on first use; PYTHON names the interpreter that makes it.
# PROFILE=embedded (default) or paper: the size of what the chapters run.

VENV ?= .venv
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3 python,$(shell $(p) -c $(PROBE) \
	>/dev/null 2>&1 && echo $(p))))
PROFILE ?= embedded
PORT ?= 8000

PROBE := 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'
BIN := $(VENV)/bin

# Keep freed memory: glibc hands large buffers back after every pass and then pays for fetching them again.
export MALLOC_TRIM_THRESHOLD_ := 4000000000
export MALLOC_MMAP_THRESHOLD_ := 4000000000

STAMP := $(VENV)/.installed
SITE := build/site
HTML := build/_build/html

CHAPTERS := $(patsubst notebooks/%.py,%,$(wildcard notebooks/*.py))
EXECUTED := $(CHAPTERS:%=$(SITE)/notebooks/%.ipynb)
PACKAGE := $(wildcard wam/*.py)
PAGES := _config.yml _toc.yml $(filter-out %.pyc book/ledger.md,$(shell find book -type f))
STAGED := $(PAGES:%=$(SITE)/%)
LEDGER := $(SITE)/book/ledger.md

.PHONY: book test pairs check-pairs smoke execute lint serve links clean FORCE
.DELETE_ON_ERROR:
.SECONDARY:

book: $(HTML)/.complete
	@echo "the book is in $(HTML)/index.html; to read it with its search: make serve"

execute: $(EXECUTED)

test: lint check-pairs smoke
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

pairs: $(STAMP)
	$(BIN)/jupytext --to ipynb --update notebooks/*.py

check-pairs: $(STAMP)
	$(BIN)/python -m pytest -q tests/test_repository.py -k pair

smoke: $(STAMP)
	$(BIN)/python book/tools/chapters.py prepare
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --nbmake --nbmake-timeout=600 build/smoke

serve: book
	$(BIN)/python -m http.server --directory $(HTML) $(PORT)

links: $(EXECUTED) $(LEDGER) $(STAGED)
	$(BIN)/jupyter-book build $(SITE) --path-output build/links --builder linkcheck

clean:
	rm -rf build

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c $(PROBE) || { \
	  echo "make: this needs Python 3.11 or newer with its venv module (Debian and Ubuntu: python3-venv)."; \
	  echo "      Name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV); with torch that takes a few minutes and about 5 GB"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[book,test]'
	@touch $@

# A chapter is executed again when it, the package, the pinned versions or the profile changed: their content,
# not their time stamps, which a checkout or `make pairs` renews.
$(SITE)/notebooks/%.ipynb: build/sources/%.py build/inputs | $(STAMP)
	$(BIN)/python book/tools/chapters.py execute $* --profile $(PROFILE)

build/sources/%.py: notebooks/%.py
	@mkdir -p $(@D)
	@cmp -s $< $@ || cp $< $@

build/inputs: FORCE
	@mkdir -p $(@D)
	@{ echo "$(PROFILE)"; cksum constraints.txt book/tools/chapters.py $(PACKAGE); } > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(STAGED): $(SITE)/%: %
	@mkdir -p $(@D)
	@cp $< $@.part && mv $@.part $@

$(LEDGER): book/ledger.md $(EXECUTED)
	@mkdir -p $(@D) $(SITE)/ledger
	@rm -f $(filter-out $(CHAPTERS:%=$(SITE)/ledger/%.json),$(wildcard $(SITE)/ledger/*.json))
	$(BIN)/python -m wam.book $(SITE)/ledger build/ledger.md
	{ cat $<; echo; cat build/ledger.md; } > $@.part
	mv $@.part $@

# --all: pages that Sphinx has read before are read again, or their warnings would be forgotten
$(HTML)/.complete: $(EXECUTED) $(LEDGER) $(STAGED) build/inputs | $(STAMP)
	rm -f $@
	$(BIN)/jupyter-book build $(SITE) --path-output build --all -W -n --keep-going
	$(BIN)/python book/tools/check_site.py $(HTML)
	@touch $@
