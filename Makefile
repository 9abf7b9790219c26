# All that is needed: Python 3.11 or newer, and make. Everything else goes into .venv/ and var/.

LOCKS  := requirements/run.txt requirements/development.txt
ROOMS  := lifetime environments deployments audit
PYTHON := .venv/bin/python
PIP    := $(PYTHON) -m pip --disable-pip-version-check --no-input
ARGS   ?=

unexport PYTHONDONTWRITEBYTECODE # or each of the processes that tests start would compile all that it imports anew

# The first Python that is new enough; the lock was made for the first of them.
find_python = for name in python3.11 python3.12 python3.13 python3 python3.14; do \
	  if command -v $$name >/dev/null 2>&1 && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$name; break; fi; \
	done

.PHONY: help up test lint bench lock clean run-environment development-environment

help:
	@echo "make up      run the console here with a demo infrastructure; Ctrl-C ends it. ARGS=\"--port 9000 --no-demo\""
	@echo "make test    everything: format, rules, types, migrations, lock, tests, browser tests. ARGS=\"-k gate\" for pytest"
	@echo "make lint    the first five of them"
	@echo "make bench   the benchmarks"
	@echo "make lock    pin the dependencies anew, with hashes"
	@echo "make clean   remove what was installed and made; var/ with the data stays"

up: run-environment
	@exec $(PYTHON) manage.py up $(ARGS)

test: lint
	@chromium=$$(sh .ci/browser) && echo "Browser: $$chromium" && \
	CHROMIUM="$$chromium" $(PYTHON) -m pytest -n 2 --dist loadgroup $(ARGS)

lint: development-environment
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) requirements/lock.py --check
	$(PYTHON) -m mypy $(ROOMS)
	$(PYTHON) manage.py makemigrations --check --dry-run

bench: development-environment
	@for bench in tests/bench/bench_*.py; do \
	  echo "== $$bench"; $(PYTHON) -m tests.bench.$$(basename $$bench .py) $(ARGS) || exit 1; \
	done

lock: development-environment
	$(PYTHON) requirements/lock.py

clean:
	rm -rf .venv staticfiles .mypy_cache .pytest_cache .ruff_cache test-results
	find $(ROOMS) tests requirements -name __pycache__ -prune -exec rm -rf {} +

# A copy of the lock beside what was installed from it tells whether it is still current.
run-environment: $(PYTHON)
	@cmp -s requirements/run.txt .venv/run.txt || { \
	  echo "Installing the locked dependencies …"; \
	  $(PIP) install --quiet --no-deps --require-hashes -r requirements/run.txt && cp requirements/run.txt .venv/; }

development-environment: $(PYTHON)
	@cmp -s requirements/development.txt .venv/development.txt || { \
	  echo "Installing the locked dependencies and tools …"; \
	  $(PIP) install --quiet --no-deps --require-hashes -r requirements/development.txt && cp $(LOCKS) .venv/; }

$(PYTHON):
	@python=$$($(find_python)); \
	if [ -z "$$python" ]; then echo "Python 3.11 or newer is needed, and none was found on the PATH." >&2; exit 1; fi; \
	echo "Making .venv with $$python …"; \
	if ! $$python -m venv --clear .venv >.venv.log 2>&1; then \
	  cat .venv.log >&2; rm -rf .venv .venv.log; \
	  echo "$$python cannot make virtual environments; on Debian and Ubuntu: apt-get install $$(basename $$python)-venv" >&2; exit 1; \
	fi; rm -f .venv.log
