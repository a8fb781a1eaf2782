PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# pytest runs in a few processes; `make test PYTEST_FLAGS=` runs it in one.
PYTEST_FLAGS ?= -n auto --maxprocesses 4

MODEL := examples/incubation/model.sbm
DATA  := examples/incubation/respiration.csv
DEMO  := build/demo

.DEFAULT_GOAL := help
.PHONY: help demo test slow bench clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

# A stamp per set of extras: pip runs again only when the project's requirements changed.
$(VENV)/.installed-%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]' -c constraints.txt
	@touch $@
$(VENV)/.installed-demo: EXTRAS := all
$(VENV)/.installed-dev: EXTRAS := all,dev
.PRECIOUS: $(VENV)/.installed-%

demo: $(VENV)/.installed-demo  ## fit the incubation example, print its summary and draw its figures
	@printf '\n===== The model: %s =====\n\n' $(MODEL)
	@cat $(MODEL)
	@printf '\n===== Its fit to %s =====\n\n' $(DATA)
	@mkdir -p $(DEMO)
	$(BIN)/sbm run $(MODEL) --data $(DATA) -o $(DEMO)/fit.nc
	$(BIN)/sbm summary $(DEMO)/fit.nc
	$(BIN)/sbm plot $(DEMO)/fit.nc -o $(DEMO)/figures

# pytest comes last, so that its closing line is the last thing printed.
test: $(VENV)/.installed-dev  ## lint, types, the wheel, and all tests but the slow ones
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	tests/wheel_smoke.sh $(BIN)/python
	$(BIN)/pytest -m "not slow" $(PYTEST_FLAGS)

slow: $(VENV)/.installed-dev  ## the slow tests
	$(BIN)/pytest -m slow $(PYTEST_FLAGS)

bench: $(VENV)/.installed-dev  ## run every script in benchmarks/
	@set -e; for script in $(sort $(wildcard benchmarks/*.py)); do \
	    printf '\n===== %s =====\n' $$script; $(BIN)/python $$script; \
	done

clean:  ## remove what was built and cached (the environment in .venv stays)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
