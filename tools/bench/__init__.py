"""What the speed claims rest on: each module is one benchmark, `python -m tools.bench.NAME`; page.py shows them all."""
