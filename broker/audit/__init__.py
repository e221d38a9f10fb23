"""Who changed what, when: rows chained by a keyed hash, so that a missing or altered one shows."""
