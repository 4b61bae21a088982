# `make help` lists what there is. POSIX sh only; every Python runs by its path, so that a space in it does no harm.
.POSIX:
.SILENT:
.DEFAULT_GOAL := help

VENV = .venv
PY = "$(VENV)/bin/python"
FIND_PYTHON = for python in "$(PYTHON)" python3 python3.14 python3.13 python3.12 python3.11 python; do \
	test -n "$$python" && "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
	test -z "$(PYTHON)" || break; done

help: ## this list
	grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## */\t/' | while IFS='	' read -r name what; do printf '  make %-10s %s\n' "$$name" "$$what"; done

setup: ## make .venv, install the pinned packages, make the stubs
	$(FIND_PYTHON); test -n "$$python" || { echo "Python 3.11 or newer is needed and none was found: install one, or name it, for example: make PYTHON=/usr/bin/python3.12 run" >&2; exit 1; }; \
	exec "$$python" -m deploy.local.setup

run: setup ## start everything, play the demo economy, stay up until Ctrl-C; BROKER=kafka on Apache Kafka (Java, Maven)
	exec $(PY) -m deploy.local run

up: setup ## start everything in the background and print its addresses as one JSON line
	exec $(PY) -m deploy.local up

down: ## end what `make up` started
	if test -x $(PY); then exec $(PY) -m deploy.local down; else echo "The stack was not up." >&2; fi

test: setup ## run every test
	exec $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test-kafka: setup ## run every test that touches the broker on Apache Kafka (needs Java 17 and Maven, fetches 45 MB once)
	BROKER=kafka exec $(PY) -m pytest -n 2 --dist loadfile -m 'broker and not chaos' -rs --timeout 300

chaos: setup ## everything fails while the demo goes on: SHORT=1 under 3 minutes, SEED=n the same again, BROKER=kafka
	exec $(PY) -m pytest tests/chaos -m chaos -rs

nightly: setup ## the same properties at full size
	HYPOTHESIS_PROFILE=nightly exec $(PY) -m pytest -m "nightly or not nightly"

audit: setup ## recompute every invariant of the running stack's books from its journal
	exec $(PY) -m deploy.local.audit

backup: setup ## save all five schemas of the running stack to one point: BACKUP=file (default .local/backup.dump)
	exec $(PY) -m deploy.local.backup save "$${BACKUP:-.local/backup.dump}"

restore: setup ## put a backup in the place of the data of a stack that is down: BACKUP=file
	exec $(PY) -m deploy.local.backup restore "$${BACKUP:-.local/backup.dump}"

bench: setup ## measure: docs/benchmarks.md; SIZE=small for a quick look, GUARD=1 to fail below the floors
	exec $(PY) -m deploy.bench

docs: setup ## write docs/rest.md and docs/grpc.md anew from routes and protos
	exec $(PY) -m deploy.reference

client: setup ## build the client that billing and integrators install: a wheel, printed with its path
	exec $(PY) -m deploy.client

check: setup lint types layers protos unused ## lint, types, layers, protos, unused code

lint:
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types:
	$(PY) -m mypy

layers:
	$(PY) -c 'import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())'

protos:
	$(PY) -m deploy.local.protos

unused:
	$(PY) -m deptry .
	$(PY) -m vulture

clean: ## end the stack and forget its data
	if test -x $(PY); then exec $(PY) -m deploy.local clean; fi

.PHONY: help setup run up down test test-kafka chaos nightly audit backup restore bench docs client check lint types layers protos unused clean
