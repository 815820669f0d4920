# `make demo` and `make test` each work alone on a fresh clone: Python >= 3.11 with venv, and make.
# Once installed, nothing here asks the network again.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

# The stamp carries what was installed: a changed pin installs anew, an unchanged one asks nobody.
STAMP  := $(VENV)/.installed

.PHONY: demo test check bench campaign day pictures extras deb install lock clean format

demo: $(STAMP)
	@$(BIN)/chargepoint-agent demo $(ARGS)

# Most of it waits, for readers, daemons and deadlines: two processes take little more than half the time of one.
WORKERS ?= 2

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadscope $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m tests.bench $(ARGS)

campaign: $(STAMP)
	$(BIN)/python -m pytest -m campaign -s $(ARGS)

day: $(STAMP)
	$(BIN)/python -m tests.day $(ARGS)

pictures: $(STAMP)
	$(BIN)/python -m fakes.pictures docs/pictures
	$(BIN)/python -m tests.panel.screenshots docs/pictures/panel   # in Debian's chromium, with fonts-inter

# pyscard and evdev come as source: gcc, Python's headers and libpcsclite-dev build them.
extras: $(VENV)/.extras

$(VENV)/.extras: $(STAMP) requirements/source.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/source-build.txt
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-build-isolation --no-binary :all: -r requirements/source.txt
	@touch $(VENV)/.extras

# For the Debian release and the machine that it runs on, with Debian's own Python; docs/install.md.
deb:
	@systemd/build-deb

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(STAMP)

$(STAMP): requirements/run.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11: name a newer one with make PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "Python's venv module is missing: apt-get install python3-venv" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/run.txt -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

PINNED := build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links

# The pins, for every Python and machine the project knows, with hashes and without addresses.
lock: $(STAMP)
	$(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet uv
	$(PINNED) pyproject.toml -o requirements/run.txt
	$(PINNED) -c requirements/run.txt --group dev --group build -o requirements/dev.txt
	$(PINNED) --group source -o requirements/source.txt
	$(PINNED) --group source-build -o requirements/source-build.txt
	$(PINNED) -c requirements/run.txt -c requirements/dev.txt --extra gpio --extra display --extra hid pyproject.toml -o requirements/package.txt
	$(PINNED) -c requirements/dev.txt -c requirements/source-build.txt --group build --group source-build -o requirements/package-build.txt
	echo 'spidev>=3.6' | $(PINNED) - -o requirements/spi.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
