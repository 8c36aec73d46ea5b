# Every target sets up what it needs and is quick when nothing has changed. `make help` lists them.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION = 0.13.9
PY = .venv/bin/python
STAMPS = .venv/.stamps
XDIST ?= auto
EMBEDDED_ONLY = --ignore staterail/tests/journeys --ignore staterail/tests/chaos
RANDOM_HEX = $(PY) -c "import secrets; print(secrets.token_hex(32))"
# Settings of a server that is never started: for `check --deploy` only.
AS_SERVER = DATABASE_URL=postgres://check@localhost/check REDIS_URL=redis://localhost STATERAIL_HOSTS=staterail.example \
	STATERAIL_DATA=$$(mktemp -d) SECRET_KEY=$$($(RANDOM_HEX)) STATERAIL_SECRET_KEYS=$$($(RANDOM_HEX))
export PYTHONDONTWRITEBYTECODE ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help setup up test check bench chaos lock audit clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(STAMPS)/python  ## install what is needed into .venv

$(STAMPS)/python: requirements.lock
	@python="$(PYTHON)"; "$${python:-python3.11}" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
		|| { echo "StateRail needs Python 3.11 (found: $$("$${python:-python3.11}" --version 2>/dev/null || echo none)):" \
			"install it, or say where it is: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@$(PY) -m uv --version 2>/dev/null | grep -q ' $(UV_VERSION) ' || $(PY) -m pip install -q uv==$(UV_VERSION)
	@$(PY) -m uv pip sync -q --python $(PY) --require-hashes requirements.lock
	@mkdir -p $(STAMPS) && touch $@

up: setup  ## start StateRail here, embedded; prints the address and how to log in
	@exec $(PY) manage.py up $(ARGS)

test: setup  ## run all tests: on SQLite, then on PostgreSQL and Redis, then with real processes of each
	$(PY) -m pytest -n $(XDIST) -m "not chaos and not servers" $(ARGS)
	STATERAIL_TEST_SERVERS=1 $(PY) -m pytest -n $(XDIST) -m "not chaos and not servers" $(EMBEDDED_ONLY) $(ARGS)
	$(PY) -m pytest -n 2 --dist loadfile -m "servers and not chaos" $(ARGS)

check: setup  ## ruff, types, import order, migrations in step with the models, deployment settings
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy .
	.venv/bin/lint-imports --no-logo --no-cache
	$(PY) manage.py makemigrations --check --dry-run
	$(AS_SERVER) $(PY) manage.py check --deploy --fail-level WARNING

bench: setup  ## measure this machine: throughput, latency, memory
	$(PY) manage.py bench $(ARGS)

chaos: setup  ## the long tier: kill -9, again and again; thousands of seeds
	$(PY) -m pytest -n 0 -m chaos --timeout 1800 $(ARGS)

lock:  ## resolve pyproject.toml anew into requirements.lock (no registry's host is named in it)
	$(PY) -m uv pip compile -q --universal --generate-hashes pyproject.toml --group dev -o requirements.lock

audit: setup  ## known vulnerabilities of what requirements.lock names
	.venv/bin/pip-audit --require-hashes --disable-pip -r requirements.lock

clean:  ## forget what was installed (your data in .staterail/ stays)
	rm -rf .venv frontend/node_modules
