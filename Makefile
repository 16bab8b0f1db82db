# make book: execute the chapters and build the pages. make test: everything that must pass.
# The environment is .venv, made and filled on first use; PYTHON names the interpreter that makes it.
# PROFILE=embedded (default) or paper: the size of what the chapters run.

VENV ?= .venv
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3 python,$(shell $(p) -c $(PROBE) \
	>/dev/null 2>&1 && echo $(p))))
PROFILE ?= embedded
PORT ?= 8000
# Chapters executed at once, each with its share of the cores; a GPU holds one.
JOBS ?= $(if $(filter embedded,$(PROFILE)),2,1)
CORES := $(shell getconf _NPROCESSORS_ONLN)

PROBE := 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'
BIN := $(VENV)/bin

# Keep freed memory: glibc hands large buffers back after every pass and then pays for fetching them again.
export MALLOC_TRIM_THRESHOLD_ := 4000000000
export MALLOC_MMAP_THRESHOLD_ := 4000000000

STAMP := $(VENV)/.installed
SITE := build/site
HTML := build/_build/html
SMOKE := build/smoke-site

# backwards: the long ones are among the last, and begin first
CHAPTERS := $(patsubst notebooks/%.py,%,$(shell ls -r notebooks/*.py))
SOURCES := $(CHAPTERS:%=build/sources/%.py)
EXECUTED := $(CHAPTERS:%=$(SITE)/notebooks/%.ipynb)
PACKAGE := $(wildcard wam/*.py wam/*.json)
PAGES := _config.yml _toc.yml CHANGELOG.md CONTRIBUTING.md \
	$(filter-out %.pyc book/ledger.md book/performance.md,$(shell find book -type f))
STAGED := $(PAGES:%=$(SITE)/%)
LEDGER := $(SITE)/book/ledger.md
PERFORMANCE := $(SITE)/book/performance.md
LANDING := $(SITE)/book/generated/figure1.html
GALLERY := $(SITE)/book/generated/gallery.html

.PHONY: book pages test browser pairs check-pairs smoke execute lint serve links colab dist clean FORCE
.DELETE_ON_ERROR:
.SECONDARY:

# a chapter that is executed alone gets all cores
book:
	@$(MAKE) --no-print-directory -s build/inputs $(SOURCES)
	@stale=$$(for c in $(CHAPTERS); do e=$(SITE)/notebooks/$$c.ipynb; \
	    [ $$e -nt build/inputs ] && [ $$e -nt build/sources/$$c.py ] || echo $$c; done | wc -l); \
	  jobs=$$(( stale == 1 ? 1 : $(JOBS) )); \
	  OMP_NUM_THREADS=$$(( ($(CORES) + jobs - 1) / jobs )) $(MAKE) --no-print-directory -j $(JOBS) pages
	@echo "the book is in $(HTML)/index.html; to read it with its search: make serve"

pages: $(HTML)/.complete

execute: $(EXECUTED)

test: lint check-pairs smoke
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

lint: $(STAMP)
	$(BIN)/ruff check --no-cache
	$(BIN)/ruff format --no-cache --check
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

pairs: $(STAMP)
	$(BIN)/jupytext --to ipynb --update notebooks/*.py

check-pairs: $(STAMP)
	$(BIN)/python -m pytest -q tests/test_repository.py -k pair

# Every chapter with small parameters, and the site of these runs, made by the rules of the book's; `make test` opens it.
smoke: $(STAMP)
	rm -rf $(SMOKE)
	$(BIN)/python book/tools/chapters.py prepare
	WAM_LEDGER=$(CURDIR)/$(SMOKE)/ledger TQDM_DISABLE=1 OMP_NUM_THREADS=1 \
	  $(BIN)/python -m pytest -q -n 2 --nbmake --overwrite --nbmake-timeout=600 build/smoke
	$(BIN)/python book/tools/chapters.py collect
	$(MAKE) --no-print-directory pages SITE=$(SMOKE) HTML=$(SMOKE)/_build/html \
	  $(CHAPTERS:%=-o $(SMOKE)/notebooks/%.ipynb)

# The tests of the pages in a browser, on the book, or on HTML=folder.
browser: $(STAMP)
	WAM_SITE=$(HTML) WAM_BROWSER=$${WAM_BROWSER:-required} $(BIN)/python -m pytest -q -n 2 tests/test_site.py

serve: book
	$(BIN)/python -m http.server --directory $(HTML) $(PORT)

links: $(EXECUTED) $(LEDGER) $(PERFORMANCE) $(LANDING) $(GALLERY) $(STAGED)
	$(BIN)/jupyter-book build $(SITE) --path-output build/links --builder linkcheck

# Run CHAPTER (default: all) as on Colab, after its own setup cell only; FLAGS=--full adds what Colab has beside torch.
colab: $(STAMP)
	$(BIN)/python book/tools/colab.py $(CHAPTER) $(FLAGS)

# The sdist and the wheel, and a try of the wheel outside of the repository.
dist:
	.ci/dist $(PYTHON)

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

$(LEDGER): book/ledger.md book/claims.yml book/tools/ledger.py $(EXECUTED)
	@mkdir -p $(@D) $(SITE)/ledger
	@rm -f $(filter-out $(CHAPTERS:%=$(SITE)/ledger/%.json),$(wildcard $(SITE)/ledger/*.json))
	$(BIN)/python book/tools/ledger.py $< $(SITE)/ledger $@

$(PERFORMANCE): book/performance.md book/tools/performance.py $(wildcard benchmarks/results/*.json) $(EXECUTED)
	@mkdir -p $(@D)
	$(BIN)/python book/tools/performance.py $< benchmarks/results $(SITE)/notebooks $@

# The pictures of the first page, which models compute; and the figures of the chapters that are tagged `gallery`.
$(LANDING): book/tools/landing.py book/tools/film.py CITATION.cff $(SITE)/_config.yml build/inputs | $(STAMP)
	$(BIN)/python book/tools/landing.py $(SITE)

$(GALLERY): book/tools/gallery.py $(EXECUTED)
	$(BIN)/python book/tools/gallery.py $(SITE)

# --all: pages that Sphinx has read before are read again, or their warnings would be forgotten
$(HTML)/.complete: $(EXECUTED) $(LEDGER) $(PERFORMANCE) $(LANDING) $(GALLERY) $(STAGED) build/inputs | $(STAMP)
	rm -f $@
	$(BIN)/jupyter-book build $(SITE) --path-output $(HTML:%/_build/html=%) --all -W -n --keep-going
	$(BIN)/python book/tools/check_site.py $(HTML)
	@touch $@
