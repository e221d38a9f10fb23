"""What callgrind writes is read as it was meant."""

from bench.callgrind import read
from bench.instructions import STEPS, steps

DUMP = """\
# callgrind format
version: 1
positions: line
events: Ir

ob=(1) /cache/wio_gate__mypyc.so
fl=(1) ???
fn=(1) CPyDef_claims___parse
0 100
cob=(2) /usr/lib/libcrypto.so.3
cfi=(1)
cfn=(2) SHA256_Update
calls=2 0
0 50
fn=(3) CPyDef_sign___Signer___sign
+3 7
cfn=(3)
calls=1 0
* 4
fn=(4) CPyDef_sign___Signer___sign'2
0 4

ob=(2)
fn=(2)
0 50
fn=(5) CPyDef_authentication___authenticate_gen_____mypyc_generator_helper__
0 1
cob=(1)
cfn=(1)
calls=1 0
0 150

totals: 162
"""


def test_costs_are_counted_once_for_files_and_with_callees_for_functions() -> None:
    counts = read(DUMP.splitlines(keepends=True))
    assert counts.by_object == {"/cache/wio_gate__mypyc.so": 111, "/usr/lib/libcrypto.so.3": 51}
    assert counts.total == 162
    assert counts.inclusive["CPyDef_claims___parse"] == 150
    assert counts.inclusive["SHA256_Update"] == 50
    assert counts.inclusive["CPyDef_sign___Signer___sign"] == 11


def test_what_no_step_takes_is_the_rest() -> None:
    found = steps(read(DUMP.splitlines(keepends=True)))
    assert list(found) == [*STEPS, "rest"]
    assert (found["verify"], found["sign"], found["upstream"], found["rest"]) == (151, 11, -11, 11)
    assert sum(found.values()) == 162
