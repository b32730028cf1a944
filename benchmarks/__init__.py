"""What the speed claims rest on: each module is one benchmark, `python -m benchmarks.NAME`; page.py shows them all."""
