# The environment is .venv, made once with the pinned torch and everything the tests need.
PYTHON ?= python3
BIN = .venv/bin
STAMP = .venv/.ready

.PHONY: demo test test-fast test-compiled report-check check audit notebooks pages docs bench clean

demo: $(STAMP)  ## compare treatments of z on handwritten digits
	$(BIN)/pyromoe compare examples/digits.yaml

test: $(STAMP)  ## all tests, the notebooks included
	$(BIN)/pytest -q --numprocesses auto --dist worksteal
	$(BIN)/pytest -q --nbmake --nbmake-timeout=300 notebooks/*.ipynb -p no:cacheprovider

test-fast: $(STAMP)  ## the tests that take a second or less
	$(BIN)/pytest -q --numprocesses auto -m "not slow and not compiler and not browser"

test-compiled: $(STAMP)  ## the compiled step of every treatment beside the eager one
	$(BIN)/pytest -q --numprocesses auto -m compiler

report-check: $(STAMP)  ## reports in Chromium, which is installed where it is missing and we are root
	.ci/chromium
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group browser
	$(BIN)/pytest -q -m browser tests/test_browser.py

check: $(STAMP)  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/jupytext --to ipynb --test notebooks/*.py

audit: $(STAMP)  ## known vulnerabilities of every installed package; fails where one cannot be looked up
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group audit
	mkdir -p build
	$(BIN)/python -m pip freeze --exclude-editable > build/installed.txt
	$(BIN)/pip-audit --strict --no-deps --disable-pip --progress-spinner off --requirement build/installed.txt

notebooks: $(STAMP)  ## write the notebooks anew from their Python halves
	$(BIN)/jupytext --update --to ipynb notebooks/*.py

pages: $(STAMP)  ## write docs/catalogue.md and docs/spec.md from what is declared
	$(BIN)/python docs/catalogue.py
	$(BIN)/python docs/spec.py

docs: $(STAMP)  ## the site, in build/site; it runs the notebooks unless NOTEBOOKS=off
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -d build/doctrees -c docs . build/site

bench: $(STAMP)  ## the figures of the documentation, NumPyro's beside ours; an hour and a half
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group bench
	-$(BIN)/python benchmarks/step_times
	-$(BIN)/python benchmarks/finite_checks.py
	-$(BIN)/python benchmarks/dispatch.py
	-$(BIN)/python benchmarks/expert_parallel.py
	-$(BIN)/python benchmarks/restarts.py
	-$(BIN)/python benchmarks/gradient_anchors.py
	-$(BIN)/python benchmarks/baselines_digits.py
	-$(BIN)/python benchmarks/digits_folds.py
	-$(BIN)/python benchmarks/gradient_error_at_cost.py
	-$(BIN)/python benchmarks/time_to_likelihood.py
	-$(BIN)/python benchmarks/time_to_flexmix.py
	-$(BIN)/python benchmarks/diabetes_folds.py
	-$(BIN)/python benchmarks/selected_folds.py
	-$(BIN)/python benchmarks/calibration.py
	-$(BIN)/python benchmarks/coverage.py
	-$(BIN)/python benchmarks/posterior_memory.py
	-$(BIN)/python benchmarks/corrupt_runs.py
	-$(BIN)/python benchmarks/kills.py
	-$(BIN)/python benchmarks/fuzz_specs.py
	-$(BIN)/python benchmarks/fuzz_tables.py
	-$(BIN)/python benchmarks/fuzz_commands.py
	-$(BIN)/python benchmarks/long_run_memory.py

clean:
	rm -rf .venv build dist runs .mypy_cache .pytest_cache .ruff_cache

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@echo "installing torch and the other packages into .venv, once; a few minutes"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	touch $(STAMP)
