# The verbs of the project. All set-up happens by itself, into .venv, from requirements.lock.
# Needs: Python 3.11 or newer, pip, git, make. Wheels only, no compiler.
PYTHON ?= python3
BIN := .venv/bin
export PYTHONWARNINGS ?= default

.PHONY: demo test check sim shell acceptance bench docs build lock clean

demo: .venv/ready
	$(BIN)/operando demo

test: .venv/ready
	$(BIN)/python -m pytest -q

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

sim: .venv/ready
	$(BIN)/operando sim

shell: .venv/ready
	$(BIN)/operando shell

acceptance: .venv/ready
	$(BIN)/python -m operando.acceptance

bench: .venv/ready
	$(BIN)/python -m benchmarks

docs: .venv/ready
	$(BIN)/python docs/generate.py

build: .venv/ready
	$(BIN)/python -m hatchling build

# uv lives in a private environment of its own, so that nothing else is touched.
.venv/tool/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "operando needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) -V 2>&1`. Try: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(PYTHON) -m venv .venv/tool
	.venv/tool/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: uv

.venv/ready: requirements.lock pyproject.toml | .venv/tool/bin/uv
	.venv/tool/bin/uv pip sync --quiet --python $(BIN)/python --only-binary :all: --require-hashes requirements.lock
	.venv/tool/bin/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# Choose the versions anew. No address of a package registry is written.
lock: | .venv/tool/bin/uv
	.venv/tool/bin/uv pip compile --quiet --universal --python-version 3.11 --only-binary :all: \
		--generate-hashes --no-header --no-emit-index-url --no-emit-find-links --upgrade \
		--all-extras --group dev pyproject.toml --output-file requirements.lock

clean:
	rm -rf .venv dist build
