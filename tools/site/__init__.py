"""Builds the website of the suite from the notebooks, the documents and the library; `python -m tools.site`."""
