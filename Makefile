# tools/make.py defines the targets and also works without make (Windows: py tools/make.py run).
PYTHON ?= python3
TARGETS = help run lab test faults bench reproduce search results report export demo compare notebooks site publish grade student zip colab

.PHONY: $(TARGETS)
$(TARGETS):
	@"$(PYTHON)" tools/make.py $@ $(ARGS)
