# Two commands on a fresh machine with git, Python >= 3.10 and make: `make demo` and `make test`.
# Choose another interpreter with `make demo PYTHON=python3.12`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint bench evaluate clean

demo: $(STAMP)
	$(BIN)/mggtalk animate examples/portrait.png --audio examples/speech.wav -o demo.mp4 --overwrite
	$(BIN)/python examples/contact_sheet.py demo.mp4 demo.png

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/mggtalk bench pipeline

# `make evaluate CLIPS=folder [REPORT=after] [BEFORE=before]`: self-reenactment of the clips, and,
# with BEFORE, failure where the new report is worse than that one beyond noise.
CLIPS ?= clips
REPORT ?= report
evaluate: $(STAMP)
	$(BIN)/mggtalk evaluate reenact $(CLIPS) -o $(REPORT)
	$(if $(BEFORE),$(BIN)/mggtalk evaluate compare $(BEFORE) $(REPORT))

# torch goes in first and alone: a CPU build that pip finds locally is then kept by what follows.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	sys.exit(0 if (3, 10) <= v < (3, 14) else "mggtalk needs Python 3.10 to 3.13, this is %d.%d: make PYTHON=python3.12" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo.mp4 demo.png
