"""The names that earlier versions wrote into records, and the present ones that replace them when a record is read."""

from __future__ import annotations

PROTOCOLS = {"honest": "validation", "report": "watch_test", "final": "train_on_all"}


def in_present_words(record: dict) -> dict:
    """Return the content of run.json or evaluation.json with today's names in place of those of an earlier version."""
    record = _with_new_key(record, "budget", "effort")
    protocol = record.get("protocol")
    if isinstance(protocol, str):
        record["protocol"] = PROTOCOLS.get(protocol, protocol)
    if isinstance(record.get("data"), dict):
        record["data"] = _data(record["data"])
    if isinstance(record.get("mistakes"), list):
        record["mistakes"] = [_mistake(entry) for entry in record["mistakes"]]
    return record


def _data(data):
    if data.get("source") == "drawn":
        data = data | {"source": "synthetic", "name": "synthetic images"}
    return _with_new_key(data, "fingerprint", "checksum")


def _mistake(entry):
    return _with_new_key(entry, "said", "predicted") if isinstance(entry, dict) else entry


def _with_new_key(entries, old, new):
    """Return a copy in which a key is replaced; if both keys are there, the new one counts."""
    entries = dict(entries)
    if old in entries:
        value = entries.pop(old)
        entries.setdefault(new, value)
    return entries
