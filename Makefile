# make run      the four notebooks on the phantom, results in out/
# make book     the same as one book of linked pages, out/book/index.html, that needs no kernel and no network
# make test     lint, spelling, types, all tests
# make check    the quick loop of a developer: the same without notebooks, browsers and slow tests
# make soak     tries to break it for MINUTES=30: damage, kills, two at once, full disks, clocks; docs/soak.md
# make bench    measures everything that costs time or memory, beside other packages, into docs/bench.md
# make pretend  trainings and notebooks 3 and 4 on a GPU that is only pretended, and the memory that presets take
# make classic  the viewer in the classic Notebook, with the versions that Colab has
# make colab    unit tests and notebooks 1 and 4 on Colab's Python and packages (5 GB; needs Python 3.13)
# make grade    grades an MRI of your own: make grade MRI=~/Desktop/my_mri.zip, leaves a page of it in out/exam/report
# make lab      JupyterLab on the notebooks
PYTHON ?= python3
PRESET ?= demo
MINUTES ?= 30
RUN ?= released
OUT := out
BIN := .venv/bin
NOTEBOOKS := 01_eda 02_preprocess 03_train 04_infer
SHOWN := tools/pages.py tools/pages.css
SOURCES := $(shell find utils -type f -not -path '*/__pycache__/*')
export LUMBAR_HOME := $(abspath $(OUT))
# Let torch's threads sleep while they wait: two programs that spin on two cores slow each other down
# by a factor of five.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: run grade book test check lint soak bench pretend classic colab lab clean help
help:
	@sed -n '1,11s/^# //p' Makefile

run: $(NOTEBOOKS:%=$(OUT)/%.html)
	@echo
	@echo "Look at  $(OUT)/01_eda.html … 04_infer.html  (the executed notebooks),"
	@echo "         $(OUT)/report/  (pages of the first studies),  $(OUT)/submission.csv,  $(OUT)/predictions.csv"
	@echo "Score on the phantom's hidden labels, lower is better (scores.csv):"
	@column -s, -t $(OUT)/scores.csv 2>/dev/null || cat $(OUT)/scores.csv

# Each notebook needs what the one before left. A finished one is not run again; an interrupted one
# is, and its cells resume from what they had saved.
$(OUT)/01_eda.ipynb: 01_eda.ipynb $(SOURCES) $(BIN)/.ready
$(OUT)/02_preprocess.ipynb: 02_preprocess.ipynb $(OUT)/01_eda.ipynb
$(OUT)/03_train.ipynb: 03_train.ipynb $(OUT)/02_preprocess.ipynb
$(OUT)/04_infer.ipynb: 04_infer.ipynb $(OUT)/03_train.ipynb
$(OUT)/%.ipynb:
	@mkdir -p $(OUT)
	@echo "== $*"
	$(BIN)/papermill $*.ipynb $(OUT)/.$*.ipynb --progress-bar --log-level ERROR -p SOURCE phantom -p PRESET $(PRESET)
	@mv $(OUT)/.$*.ipynb $@

$(OUT)/%.html: $(OUT)/%.ipynb $(SHOWN)
	@$(BIN)/python -m tools.pages $<

grade: $(BIN)/.ready
	@mkdir -p $(OUT)/exam
	@$(BIN)/python -m utils.inference "$(MRI)" "$(RUN)" --out $(OUT)/exam/submission.csv

book: $(OUT)/book/index.html
	@echo "Open $<"

$(OUT)/book/index.html: $(NOTEBOOKS:%=$(OUT)/%.ipynb) $(SHOWN) tools/book.py tools/api.py README.md docs/glossary.md docs/kaggle.md docs/viewer.webp released/CARD.md
	@$(BIN)/python -m tools.book $(OUT) >/dev/null

# Two tests at a time: many wait for a browser, a kernel or a disk.
test: lint
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

check: lint
	$(BIN)/pytest -x -m "not (browser or notebook or slow)"

lint: $(BIN)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

soak: $(BIN)/.ready
	$(BIN)/python -m benchmarks.soak $(MINUTES)

bench: $(BIN)/.ready
	$(BIN)/python -m benchmarks

pretend: $(BIN)/.ready
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.pretend $(OUT)/pretended/fp16
	$(BIN)/python -m benchmarks.pretend $(OUT)/pretended/bf16 --bf16

# A second environment, small because it has no torch: see requirements-classic.txt.
classic: .venv-classic/.ready
	.venv-classic/bin/pytest tests/test_viewer.py tests/test_viewer_notebook.py

.venv-classic/.ready: requirements-classic.txt
	$(PYTHON) -m venv .venv-classic
	.venv-classic/bin/python -m pip install -q -r requirements-classic.txt
	@touch $@

# A third environment, large because it has Colab's own torch: see requirements-colab.txt. What the
# first cell of a notebook installs there must add to it and replace nothing.
COLAB := .venv-colab
colab: $(COLAB)/.ready
	$(COLAB)/bin/pytest --ignore tests/test_viewer_notebook.py --ignore tests/test_notebooks.py --ignore tests/test_book.py
	@for name in 01_eda 04_infer; do echo "== $$name"; \
	  LUMBAR_HOME=$(abspath $(OUT))/colab $(COLAB)/bin/papermill $$name.ipynb $(OUT)/colab-$$name.ipynb --log-level ERROR || exit 1; done

$(COLAB)/.ready: requirements.txt requirements-colab.txt
	python3.13 -m venv --clear $(COLAB)
	$(COLAB)/bin/python -m pip install -q -r requirements-colab.txt
	$(COLAB)/bin/pip freeze >$(COLAB)/before.txt
	$(COLAB)/bin/python -m pip install -q -r requirements.txt
	$(COLAB)/bin/pip freeze >$(COLAB)/after.txt
	@! grep -vxFf $(COLAB)/after.txt $(COLAB)/before.txt || { echo "replaced by requirements.txt: see above"; exit 1; }
	$(COLAB)/bin/python -m pip install -q pytest hypothesis papermill playwright
	@touch $@

lab: $(BIN)/.ready
	$(BIN)/jupyter lab

$(BIN)/.ready: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 14) or sys.exit(f"Python 3.11 to 3.13 is needed, this is {v.major}.{v.minor}; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(OUT)
