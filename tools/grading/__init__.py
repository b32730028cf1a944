"""Marking of submissions: student code runs in a confined child process, and the parent judges what it computes."""
