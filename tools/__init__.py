"""The suite's own tools: its targets, the headless runner, notebook hygiene, publishing. No notebook imports them."""
