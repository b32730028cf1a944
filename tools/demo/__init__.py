"""Makes a page with a trained network inside: one HTML file that works offline (`make demo RUN=NAME`)."""
