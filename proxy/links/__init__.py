"""Links for strangers, `/-/l/<token>/<name>`: no signature, but the same decision as for everybody else, each time."""
