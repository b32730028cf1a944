"""Marking: how a submission gets its points, from its folder or zip file to a row of grades.csv.

tools/grade.py starts a nursery, a process with the library and without secrets, from which all children are forked
(session.py, child.py). A submission is unpacked (submissions.py), its source is searched for what it may not import
(source_checks.py), and the record of its run is read (mark_run.py). Then a child, which is confined (confine.py), runs
the notebook, and calls its functions and its network (mark.py, child_code.py). The child sends values, never points:
judge.py computes the right values for inputs that are drawn at random here, and the accuracy is computed from
predictions, because only the parent has the labels. The points of all parts (scheme.py) are stored as result.json, so
that the next call does not repeat them, and written as tables and pages (tables.py).
"""
