# For a checkout. Needs Python 3.11 or later and make; a C compiler too for CoAP over DTLS.
# As root or not, as often as you like; what is done already is not done again.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input install -qq --constraint .ci/constraints.txt
WEB_TOOLS := .ci/web-tools

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup coaps browser-tools run test lint bench faults real-parts clean

help:
	@echo 'make run         set everything up and open the editor on the demo; its data is kept in .flowengine'
	@echo 'make test        set everything up, then lint, types and all tests'
	@echo 'make setup       the Python environment in $(VENV), with everything a developer needs'
	@echo 'make lint        ruff and mypy alone'
	@echo 'make bench       throughput, latency and memory on this machine'
	@echo 'make faults      every fault of the catalogue, also those that need long (40 minutes), and the page of them'
	@echo 'make real-parts  as root: brokers and databases for the system tests, from the distribution'
	@echo 'make clean       remove what the above made in this folder'

setup: $(VENV)/ready coaps browser-tools

run: $(VENV)/ready
	@$(PY) -m flowengine serve --demo --data .flowengine/demo $(ARGS)

# Tests run several at once; those that measure time or memory run after them, each alone.
# Both runs are made, also when the first has failed; a run without a test has failed (pytest ends with 5).
test:
	@.ci/real-parts --if-possible
	@$(MAKE) --no-print-directory setup lint
	@code=0; \
	$(PY) -m pytest -n auto --dist worksteal -m 'not alone' || code=$$?; \
	$(PY) -m pytest -m alone || code=$$?; \
	exit $$code

lint: setup
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

bench: setup
	@$(PY) -m tests.bench

faults: setup
	@$(PY) -m tests.faults

real-parts:
	@.ci/real-parts

clean:
	rm -rf $(VENV) $(WEB_TOOLS)/node_modules build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first Python that is recent enough and can make an environment.
$(VENV)/ready: pyproject.toml .ci/constraints.txt
	@echo 'setup: installing into $(VENV) (one to three minutes the first time)'
	@$(PY) -c '' 2>/dev/null || { \
	  for python in $(PYTHON) python3 python3.11 python3.12 python3.13 python3.14; do \
	    $$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	      && exec $$python -m venv --clear $(VENV); \
	  done; \
	  echo 'setup: found no Python 3.11 or later with venv. Install one (on Debian also python3-venv),' >&2; \
	  echo '  or name it: make setup PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PIP) --editable '.[dev]'
	@touch $@

# CoAP over DTLS is compiled. Without the build tools everything else works; where CI is set it must build.
coaps: $(VENV)/ready
	@test -e $(VENV)/coaps || { \
	  if (command -v autoreconf && command -v libtoolize && command -v pkg-config) >/dev/null; then \
	    echo 'setup: compiling CoAP over DTLS (half a minute)'; \
	    $(PIP) --editable '.[coaps]' >$(VENV)/coaps.log 2>&1 && touch $(VENV)/coaps; \
	  else echo 'autoconf, automake, libtool and pkg-config are not all installed' >$(VENV)/coaps.log; false; fi; \
	} || { \
	  echo "setup: no CoAP over DTLS (coaps://): $$(tail -n 1 $(VENV)/coaps.log)"; \
	  echo '  All else works. To have it: make real-parts (as root), then make setup. Details: $(VENV)/coaps.log'; \
	  test -z "$$CI"; }

# The type checker and the accessibility checker of the editor's tests: two npm packages.
# Without npm everything else works; where CI is set they must be there.
browser-tools: $(VENV)/ready
	@test $(WEB_TOOLS)/node_modules/.package-lock.json -nt $(WEB_TOOLS)/package-lock.json || { \
	  if command -v npm >/dev/null; then npm --prefix $(WEB_TOOLS) ci >$(VENV)/npm.log 2>&1; \
	  else echo 'there is no npm' >$(VENV)/npm.log; false; fi; \
	} || { \
	  echo "setup: no packages for the browser tests: $$(head -n 1 $(VENV)/npm.log)"; \
	  echo '  All else works; the tests that need them are skipped. To have them: make real-parts (as root), then'; \
	  echo '  make setup. Details: $(VENV)/npm.log'; \
	  test -z "$$CI"; }
