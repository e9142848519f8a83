# Each target sets up what it needs: a fresh machine needs python3 (3.11 or newer) with venv.
PYTHON ?= python3
VENV = .venv
READY = $(VENV)/.ready

.PHONY: demo test check bench

demo: $(READY)  ## compose the shipped push_x and push_y, print the distances, draw the figure
	$(VENV)/bin/skillkit compose push_x push_y
	$(VENV)/bin/skillkit plot push_x push_y push_x+push_y --output .skillkit/push_x+push_y.png

test: $(READY)  ## everything that runs in seconds; `pytest -m slow` runs the rest
	$(VENV)/bin/pytest -n auto

check: $(READY)  ## style, types, layers
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(READY)  ## every measurement; each prints a table, and trainings resume where they stopped
	@for file in $$(grep -l __main__ benchmarks/*.py); do \
		echo "$$file"; $(VENV)/bin/python "$$file" || exit 1; \
	done

# Written last, so an interrupted installation is taken up again; newer requirements renew it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -c constraints.txt -e '.[dev]'
	@touch $@
