# Thin: tools/make.py defines every target, prints each command it runs, and works without make (Windows: py tools/make.py run).
PYTHON ?= python3
TARGETS = help run lab test faults bench reproduce results report compare notebooks publish zip

.PHONY: $(TARGETS)
$(TARGETS):
	@"$(PYTHON)" tools/make.py $@ $(ARGS)
