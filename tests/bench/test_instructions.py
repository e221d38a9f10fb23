"""What is read of a dump of callgrind's, and what the tables and the budget make of it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from bench import callgrind, instructions
from bench.figures import FIGURES
from bench.instructions import COMPILED, PLAIN, Count
from bench.profile import LOOP, STEPS

ROOT = Path(__file__).parents[2]
HANDLER = "CPyDef_protocol____work_WioHttpProtocol_gen_____mypyc_generator_helper__"
AUTHENTICATE = "CPyDef_authentication___authenticate_gen_____mypyc_generator_helper__"

#: As callgrind 3.19 writes it, but for the paths; names come once, levels of a recursion as functions of their own.
DUMP = f"""\
# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 1266
cmd:  python -m proxy --port 56305
part: 1


desc: Timerange: Basic block 0 - 34880559
desc: Trigger: dump

positions: line
events: Ir
summary: 0


ob=(17) /lib/uvloop/loop.cpython-311-x86_64-linux-gnu.so
fl=(155) ???
fn=(1) uv_run
0 30
cob=(2) /cache/wio_gate__mypyc.cpython-311-x86_64-linux-gnu.so
cfn=(2) {HANDLER}
calls=4 0
0 400

ob=(2)
fn=(2)
0 100
+3 10
cfn=(3) {HANDLER}'2
calls=1 0
0 55
cfn=(4) {AUTHENTICATE}
calls=1 0
* 200
cfn=(5) CPyDef_sign___Signer___sign
calls=1 -2
0 60

fn=(3)
0 30
cfn=(5)
calls=1 0
0 25

fn=(4)
0 50
cfn=(6) CPyDef_keys___hmac_hex
calls=3 0
0 150

fn=(5)
0 35
cfn=(6)
calls=1 0
0 50

fn=(6)
0 20
ob=(3) /usr/lib/libcrypto.so.3
fn=(7) sha256_block
0 180

totals: 455
"""


def test_a_dump_is_read_with_its_short_names_and_recursions_are_one() -> None:
    dump = callgrind.parse(DUMP)
    assert dump.total == 455
    compiled = "/cache/wio_gate__mypyc.cpython-311-x86_64-linux-gnu.so"
    assert dump.own[compiled, HANDLER] == 140
    assert dump.calls["uv_run", HANDLER] == 400
    assert dump.calls[HANDLER, "CPyDef_sign___Signer___sign"] == 85


def test_a_name_that_was_not_given_is_no_dump() -> None:
    with pytest.raises(ValueError, match="no name yet"):
        callgrind.parse("fn=(1)\n0 12\n")


def test_code_is_part_of_the_file_that_it_is_in() -> None:
    assert instructions.by_part(callgrind.parse(DUMP)) == {
        "httptools, uvloop, hiredis": 30,
        "compiled modules": 245,
        "libcrypto": 180,
    }


def test_each_step_has_its_functions_and_its_part_of_what_they_share() -> None:
    # Folded, as there is nothing but compiled functions below the loop: their own is what they call besides.
    folded = DUMP.replace("fn=(6)\n0 20\n", "fn=(6)\n0 200\n").partition("ob=(3)")[0]
    steps = instructions.by_step(callgrind.parse(folded))
    # Three quarters of what signs keys were for the client's signature, one for the node's.
    assert steps == pytest.approx({LOOP: 30, "handler": 140, "verify": 50 + 150, "sign": 35 + 50})
    assert sum(steps.values()) == pytest.approx(455)


@pytest.mark.parametrize(
    ("symbol", "name", "step"),
    [
        ("CPyDef_s3___target___parse_target", "s3.target.parse_target", "parse"),
        ("CPyDef_connection___Connection____parse", "connection.Connection._parse", "upstream"),
        ("CPyDef_wire____Link___data_received", "wire._Link.data_received", "admit"),
        ("CPyDef_protocol___WioHttpProtocol___data_received", "protocol.WioHttpProtocol.data_received", "server"),
        ("CPyDef_call___answer_Call_gen", "call.answer_Call_gen", "relay"),
        (
            "CPyDef_mutation_____aexit___3_Mutation_gen_____mypyc_generator_helper__",
            "mutation.__aexit___Mutation_gen.__mypyc_generator_helper__",
            "settle",
        ),
        ("CPyDef_keeping___Stock___store", "keeping.Stock.store", None),
        ("CPyDef_call___Call_____init__", "call.Call.__init__", None),
        ("PyObject_Vectorcall", None, None),
    ],
)  # fmt: skip
def test_functions_of_c_are_known_again(symbol: str, name: str | None, step: str | None) -> None:
    assert callgrind.python_name(symbol) == name
    assert instructions.step_of(symbol) == step


def test_every_function_that_begins_a_step_is_still_there() -> None:
    sources = "\n".join(
        path.read_text() for package in ("sigv4", "quota", "proxy") for path in (ROOT / package).rglob("*.py")
    )
    for _, functions in STEPS.values():
        for function in functions:
            owner, _, method = function.rpartition(".")
            assert not owner or re.search(rf"^class {owner}\b", sources, re.MULTILINE), function
            assert not method or re.search(rf"^ *(async )?def {method}\b", sources, re.MULTILINE), function


def a_count(total: float) -> Count:
    return Count({"interpreter": total - 40, "libcrypto": 40}, {"verify": total}, {})


def test_both_builds_stand_in_one_table_and_the_compiled_one_has_steps() -> None:
    table = instructions.table({"get": {PLAIN: a_count(640), COMPILED: a_count(395)}})
    assert "| GET of 4 KiB, plain | 640 | 0 | 40 | 0 | 600 | 0 | 0 |" in table
    assert "| GET of 4 KiB, compiled | 395 | 0 | 40 | 0 | 355 | 0 | 0 |" in table
    assert "| verify | 395 |" in table
    assert "step" not in instructions.table({"get": {PLAIN: a_count(640)}})


def test_only_the_compiled_build_has_a_budget(capsys: pytest.CaptureFixture[str]) -> None:
    allowed = instructions.budget()
    assert set(allowed) <= set(FIGURES)
    assert instructions.check({"get": {PLAIN: a_count(9000), COMPILED: a_count(50)}}, allowed) == 0
    assert instructions.check({"get": {COMPILED: a_count(9000)}}, allowed) == 1
    assert "WORSE get: 9,000 thousand instructions" in capsys.readouterr().err


def test_the_page_has_a_place_for_it() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    assert text.count("<!-- instructions -->\n") == text.count("<!-- /instructions -->") == 1


def test_without_valgrind_one_sentence_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr("sys.argv", ["instructions", "get"])
    assert instructions.main() == 2
    assert capsys.readouterr().err == "valgrind is missing; on Debian and Ubuntu: apt-get install valgrind\n"
