# Everything here needs Python 3.11+ and make; the rest is set up by itself in .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-quick test-clocks mutants browser soak lint lock bench clean

demo: .venv/program
	$(BIN)/tradelog demo

# Side by side, one worker a core.
test: .venv/ready
	$(BIN)/python -m pytest -n auto --dist worksteal

# What starts no process and is quick, with its stores in memory where there is a place: for a first look, and
# while writing.
ROOMS := tests/adopt tests/domain tests/decide tests/execute tests/operate tests/store tests/upkeep tests/test_library.py tests/test_docs.py
QUICK_TESTS := $(ROOMS) -m 'not browser and not process and not slow'
test-quick: .venv/ready
	TMPDIR=$(wildcard /dev/shm) $(BIN)/python -m pytest -n auto --dist worksteal $(QUICK_TESTS)

# The suite on other days: New Year's Eve, a leap day, both nights that New York's clocks change, three years
# ahead. QUICK=1 takes the quick tests only.
CLOCKS := 2026-12-31T23:30-05:00 2028-02-29T12:00-05:00 2027-03-14T01:50-05:00 2027-11-07T01:50-04:00 \
	$(shell expr $$(date +%Y) + 3)-11-28T09:00-05:00
test-clocks: .venv/ready
	set -e; for clock in $(CLOCKS); do \
		TEST_CLOCK=$$clock $(BIN)/python -m pytest -n auto --dist worksteal \
			$(if $(QUICK),$(QUICK_TESTS)); done

# Small wrong changes of the critical modules, one at a time: which does no test see? MODULE= names one of them.
mutants: .venv/ready
	$(BIN)/python -m tests.mutation $(MODULE)

# The page of a bundle in headless Chromium, which Debian's package manager brings where it is not there.
browser: .venv/ready
	command -v chromium >/dev/null || (apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium)
	$(BIN)/python -m pytest -m browser

# The design's budgets as ratios; FILE= names a real Quiver export to load.
bench: .venv-bench/ready
	.venv-bench/bin/python -m benchmarks.bench $(FILE)

# Peers that the benchmarks measure against need an environment of their own.
.venv-bench/ready: pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	.venv-bench/bin/python -m pip install --quiet --editable . --group bench
	touch $@

# Every crash point, hundreds of kills and thousands of stories; half an hour.
soak: .venv/ready
	TRADELOG_SOAK=1 $(BIN)/python -m pytest tests/crash -s --timeout=0

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/structure.py

# What the tests and linters need on top of the program.
.venv/ready: .venv/program
	$(INSTALL) --upgrade 'pip>=25.1'
	$(INSTALL) --constraint requirements.lock --editable . --group dev
	touch $@

# The newest versions that pyproject.toml allows, as everybody's next set-up.
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check . --group dev
	echo '# Written by `make lock`: what .venv is set up with.' > requirements.lock
	.venv-lock/bin/python -m pip freeze --exclude tradelog >> requirements.lock
	rm -rf .venv-lock

.venv/program: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(INSTALL) --constraint requirements.lock --editable .
	touch $@

clean:
	rm -rf .venv .venv-bench
