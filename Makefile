# The verbs of the project. All set-up happens by itself: into .venv, from requirements.lock,
# with nothing but the machine's own pip (and so with its certificates, proxies and mirrors).
# Needs: Linux, Python 3.11 or newer with pip, git, make. Wheels only, no compiler.
PYTHON ?= python3
BIN := .venv/bin
PIP = $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check --no-input
# pip compiles one file after the other; this takes all cores, and leaves out the packages' tests.
COMPILE = -W ignore -m compileall -qq -j 0 -x 'site-packages/.*/tests/'

.PHONY: demo test test-long check sim shell acceptance acceptance-long acceptance-makers bench clients faults soak fuzz audit docs build lock upgrade clean

demo: .venv/ready
	$(BIN)/operando demo

# Most tests wait for processes and clocks: four at a time fill two cores. Bytecode is written, as
# it is for users: hundreds of processes are started that would compile the same modules again.
# In the order of their names the slow files come early, and none is waited for at the end.
test: .venv/ready .venv/validators/ready
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q --numprocesses 4 --dist loadfile \
		--no-loadscope-reorder

# With what is marked long: at each change the tests of ten minutes are run, all before a release.
test-long: .venv/ready .venv/validators/ready
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q --numprocesses 4 --dist loadfile \
		--no-loadscope-reorder --long

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

sim: .venv/ready
	$(BIN)/operando sim

shell: .venv/ready
	$(BIN)/operando shell

# DATA=folder: also evaluates published measurements with known answers that lie there.
acceptance: .venv/ready
	$(BIN)/python -m operando.real_data $(DATA)
	$(BIN)/python -m operando.acceptance

# Lives as medians of 20 seeds: half an hour on two quiet cores; it tells how long first.
acceptance-long: .venv/ready
	$(BIN)/python -m operando.acceptance --long

# The short rows on each maker's potentiostat, side by side: some ten minutes.
acceptance-makers: .venv/ready
	$(BIN)/python -m operando.acceptance --potentiostats

bench: .venv/ready .venv/peers/ready
	$(BIN)/python -m benchmarks

clients: .venv/ready .venv/peers/ready
	$(BIN)/python -m benchmarks.clients

faults: .venv/ready
	$(BIN)/python -m benchmarks.faults

# Eight stations cycle for 1000 h of cell time each, the cells of a ninth die, and something is broken
# now and then: a quarter of an hour. Prints the account; SOAK="--stations 2 --items 12 --hours 100
# --faults 8" makes it shorter.
soak: .venv/ready
	$(BIN)/python -m benchmarks.soak $(SOAK)

# Ten thousand damaged frames of each language and file: half an hour on two cores.
fuzz: .venv/ready
	$(BIN)/python -m benchmarks.fuzz

# Asks a database of known vulnerabilities about every version that is pinned here; it needs the
# network, so it is no part of check. A package that the database does not know fails it, too: a
# mirror without advisories would call everything sound. AUDIT=pypi asks the registry instead.
AUDIT ?= osv
PINNED := requirements.lock .ci/requirements-uv.txt .ci/requirements-audit.txt \
	tests/requirements-validators.txt benchmarks/requirements-peers.txt
audit: .venv/audit/ready
	@failed=; for file in $(PINNED); do \
		echo "$$file:"; \
		.venv/audit/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
			--vulnerability-service $(AUDIT) --requirement $$file || failed="$$failed $$file"; \
	done; test -z "$$failed" || { echo "Not found to be sound:$$failed"; exit 1; }

docs: .venv/ready
	$(BIN)/python docs/generate.py

build: .venv/ready
	$(BIN)/python -m hatchling build

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "operando needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) -V 2>&1)."; \
		echo "If the machine has a newer one, name it:  make PYTHON=python3.12 $(MAKECMDGOALS)"; \
		exit 1; }
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { \
		echo "$(PYTHON) has no pip. Install it (Debian, Ubuntu: apt install python3-pip) and try again."; \
		exit 1; }
	@echo "Installing what requirements.lock names into .venv: 1.7 GB, one or two minutes, once."
	@$(PYTHON) -m venv --without-pip .venv
	@$(PIP) install --quiet --quiet --no-compile --no-deps --only-binary :all: --require-hashes \
		-r requirements.lock
	@$(PIP) install --quiet --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python $(COMPILE) .venv/lib || true
	@touch $@

# lock: write down what pyproject.toml now asks for, keeping every version that still fits.
# upgrade: choose all versions anew. Neither writes the address of a package registry.
# Both use uv, itself pinned, in an environment of its own; behind a proxy with certificates of
# its own, uv wants SSL_CERT_FILE.
lock: .venv/uv/ready
	$(UV_COMPILE) --universal --python-version 3.11 --all-extras --group dev pyproject.toml \
		--output-file requirements.lock

upgrade: .venv/uv/ready
	echo uv | $(UV_COMPILE) --universal --python-version 3.11 --upgrade - \
		--output-file .ci/requirements-uv.txt >/dev/null
	echo pip-audit | $(UV_COMPILE) --no-config --universal --python-version 3.11 --upgrade - \
		--output-file .ci/requirements-audit.txt >/dev/null
	$(UV_COMPILE) --universal --python-version 3.11 --upgrade --all-extras --group dev \
		pyproject.toml --output-file requirements.lock
	$(UV_COMPILE) --no-config --universal --python-version 3.11 --upgrade \
		--excludes tests/validators-excluded.txt tests/validators.in \
		--output-file tests/requirements-validators.txt
	$(UV_COMPILE) --no-config --universal --python-version 3.11 --upgrade \
		--excludes benchmarks/peers-excluded.txt --override benchmarks/peers-overrides.txt \
		benchmarks/peers.in --output-file benchmarks/requirements-peers.txt

UV_COMPILE = .venv/uv/bin/uv pip compile --quiet --only-binary :all: --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links

.venv/uv/ready: .ci/requirements-uv.txt | .venv/ready
	@$(PYTHON) -m venv --without-pip .venv/uv
	@$(PYTHON) -m pip --python .venv/uv/bin/python install --quiet --quiet --disable-pip-version-check \
		--no-deps --only-binary :all: --require-hashes -r $<
	@touch $@

.venv/audit/ready: .ci/requirements-audit.txt | .venv/ready
	@$(PYTHON) -m venv --without-pip .venv/audit
	@$(PYTHON) -m pip --python .venv/audit/bin/python install --quiet --quiet \
		--disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r $<
	@touch $@

# The validators of the formats that runs are exported to (0.7 GB): never imported by what we ship,
# run by the tests as other programs.
.venv/validators/ready: tests/requirements-validators.txt | .venv/ready
	@echo "Installing the validators of the export formats into .venv/validators: 0.7 GB, once."
	@$(PYTHON) -m venv --without-pip .venv/validators
	@$(PYTHON) -m pip --python .venv/validators/bin/python install --quiet --quiet \
		--disable-pip-version-check --no-input --no-compile --no-deps --only-binary :all: \
		--require-hashes -r $<
	@.venv/validators/bin/python $(COMPILE) .venv/validators/lib || true
	@touch $@

# Who `make bench` measures beside us, and the clients of `make clients`; nothing of the product
# runs there.
.venv/peers/ready: benchmarks/requirements-peers.txt | .venv/ready
	@echo "Installing peers and clients that are not ours into .venv/peers: 1 GB, two minutes, once."
	@$(PYTHON) -m venv --without-pip .venv/peers
	@$(PYTHON) -m pip --python .venv/peers/bin/python install --quiet --quiet \
		--disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r $<
	@touch $@

clean:
	rm -rf .venv dist build
