"""A suite of our own, with a shell script as the program under test, played whole."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from interop.suite import play as command
from interop.suite.machine import children, end_children
from interop.suite.munging import MungingError, rules, started
from interop.suite.playing import Result, Verdict, play
from interop.suite.report import compared, load, save
from interop.suite.running import unescaped
from interop.suite.stage import Program, Stage, first_comment_as, patched, set_up
from interop.suite.steps import sized_lines
from interop.suite.test_substitutions import WORDS

pytestmark = pytest.mark.skipif(not shutil.which("perl"), reason="needs perl")

RUNTEST = r"""
my $re_digits = qr/\d+/;
sub new_value {
my($old, $base, $sequence) = @_;
$cache{$old} = sprintf($base, $$sequence++) if !defined $cache{$old};
return $cache{$old};
}
sub date_seconds {
return 0;
}
sub munge {
my($file, $extra) = @_;
my $cut = 0;
local $_;
open(IN, "$file");
while (<IN>)
  {
  $cut = 1 if /truncated/;
  if ($extra) { eval $extra; }
  s/\Q$parm_cwd\E/TESTSUITE/g;
  s/([a-z]{6}-[a-z]{6}-[a-z]{2})/new_value($1, "10Hm%s-0005vi-00", \$next_msgid_old)/egx;
  s/took $re_digits/took N/;
  print MUNGED;
  }
return $cut;
}
$munges =
  { 'colour' =>
    { 'stdout' => 's/red/COLOUR/' },
  };
"""
PROGRAM = """\
#!/bin/sh
while [ "$1" ]; do
  case "$1" in
    -bp) echo " 3h  1.2K abcdef-ghijkl-mn <x@y>"; exit 0 ;;
    -C) cat "$2"; shift ;;
    -slow) sleep 60 ;;
    -log) mkdir -p spool/log spool/msglog; echo "abcdef-ghijkl-mn took $$" >spool/log/mainlog
          echo kept >spool/msglog/abcdef-ghijkl-mn ;;
    -mail) cat >test-mail/box ;;
    -fail) echo "relay-sendmail: no such thing" >&2; exit 3 ;;
    -say) echo "$2"; shift ;;
  esac
  shift
done
cat
"""
NO_PROGRAM = "int main(void) { return 0; }\n"

Suite = Callable[..., Stage]


@pytest.fixture
def suite(tmp_path: Path):
    """Makes a suite of one script, `0001`, with what it should leave."""
    folder = tmp_path / "suite"
    for name in ("scripts/one", "confs", "aux-fixed", "aux-var-src", "dnszones-src", "src", "stdout", "stderr", "log"):
        (folder / name).mkdir(parents=True)
    for name in ("mail", "msglog"):
        (folder / name).mkdir()
    (folder / "runtest").write_text(RUNTEST)
    for name in ("client", "server"):
        (folder / f"src/{name}.c").write_text(NO_PROGRAM)
    (folder / "confs/0001").write_text("of TESTNUM in DIR/x\n")
    program = tmp_path / "relay-sendmail"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    directory = tmp_path / "play"
    directory.mkdir()
    us, ours = os.geteuid(), os.getegid()
    words = replace(WORDS, directory=str(directory), caller_uid=us, caller_gid=ours, exim_uid=us, exim_gid=ours)

    def made(script: str, **expected: str) -> Stage:
        (folder / "scripts/one/0001").write_text(f"# Ours\n{script}")
        for name, text in expected.items():
            path = folder / name.replace("_", "/", 1).replace("__", ".")
            path.write_text(text)
        return set_up(folder, directory, Program(program, "4.5", patched=False), words)

    spared = children()
    yield made
    end_children(spared)


def verdict_of(stage: Stage, seconds: float = 20) -> Verdict:
    return play(stage, "one", "0001", seconds=seconds)


def test_what_is_as_expected_passes(suite: Suite):
    stage = suite(
        "exim -say 'took 3'\nHOSTNAME\n****\nwrite test-data\nx DIR/\n****\ncat test-data\n",
        stdout_0001="of 0001 in TESTSUITE/x\ntook N\nhost.example\nx DIR/\n",
    )
    assert verdict_of(stage).result is Result.PASSED


def test_octets_of_a_command_stay_as_they_are(suite: Suite):
    said = "\u00fc"  # two octets in the script
    stage = suite(f"exim -say {said}\n****\n", stdout_0001=f"of 0001 in TESTSUITE/x\n{said}\n")
    assert verdict_of(stage).result is Result.PASSED


def test_what_differs_is_told_with_its_first_line(suite: Suite):
    stage = suite("exim -say b\n****\n", stdout_0001="of 0001 in TESTSUITE/x\na\n")
    [difference] = verdict_of(stage).differences
    assert (difference.file, difference.line, difference.expected, difference.got) == ("stdout/0001", 2, "a", "b")


def test_logs_mails_and_message_logs_are_compared(suite: Suite):
    stage = suite(
        "no_stdout_check\nexim -log -mail\nText\n****\n",
        log_0001="10HmaX-0005vi-00 took N\n",
        mail_0001__box="Text\n",
        **{"msglog_0001__10HmaX-0005vi-00": "kept\n"},
    )
    assert verdict_of(stage).result is Result.PASSED


def test_files_that_are_missing_or_too_many(suite: Suite):
    stage = suite("no_stdout_check\nexim -log\n****\n", mail_0001__box="Text\n")
    assert [each.file.split()[0] for each in verdict_of(stage).differences] == [
        "log/0001",
        "mail/0001.box",
        "msglog/0001.10HmaX-0005vi-00",
    ]


def test_an_unexpected_code_ends_the_test(suite: Suite):
    stage = suite("exim -fail\n****\n", stdout_0001="")
    verdict = verdict_of(stage)
    assert (verdict.result, verdict.detail) == (Result.RETURNS, "line 2: exim returned 3, not 0")
    assert verdict.said == ("relay-sendmail: no such thing",)


def test_a_code_may_be_expected(suite: Suite):
    stage = suite("no_stderr_check\nno_stdout_check\n3\nexim -fail\n****\n~0\nexim -fail\n****\n")
    assert verdict_of(stage).result is Result.PASSED


def test_a_test_that_takes_too_long_is_ended_with_all_it_started(suite: Suite):
    stage = suite("exim -slow\n****\n")
    before = children()
    verdict = verdict_of(stage, seconds=0.3)
    assert verdict.result is Result.TIME
    assert verdict.seconds < 10
    assert children() == before


def test_a_custom_munge_and_messages_of_the_queue(suite: Suite):
    stage = suite(
        "munge colour\nexim -say $msg1.red\n****\n",
        stdout_0001="of 0001 in TESTSUITE/x\n10HmaX-0005vi-00.COLOUR\n",
    )
    assert verdict_of(stage).result is Result.PASSED


def test_what_is_not_known_is_skipped(suite: Suite):
    stage = suite("dance\n")
    assert (verdict_of(stage).result, verdict_of(stage).detail) == (Result.SKIPPED, "line 2: dance is not known")


def test_sized_lines_are_written_between_the_others(suite: Suite):
    stage = suite(
        "catwrite test-data 2x6=b_c 1x3\nbefore\n++++\nafter\n****\n",
        stdout_0001="==========\nbefore\nb caa\nb caa\naa\nafter\n==========\n",
    )
    assert verdict_of(stage).result is Result.PASSED


def test_a_version_becomes_the_one_of_the_suite(suite: Suite):
    stage = suite("exim -say 'Exim 4.5 Exim 4.51'\n****\n", stdout_0001="of 0001 in TESTSUITE/x\nExim x.yz Exim 4.51\n")
    assert verdict_of(stage).result is Result.PASSED


def test_sized_lines():
    assert sized_lines("2x4=_") == " aa\n aa\n"
    assert sized_lines("nothing") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [(r"a\r\n", "a\r\n"), (r"\x41\101\\", "AA\\"), (r"\x{42}\"", 'B"'), ("plain", "plain")],
)
def test_strings_as_perl_reads_them(text: str, expected: str):
    assert unescaped(text) == expected


def test_the_rules_have_to_be_there():
    with pytest.raises(MungingError):
        rules("sub munge {\n}\n")


def test_the_rules_see_the_caller_and_the_port_of_the_listener(tmp_path: Path):
    (tmp_path / "one").write_text("uid 1001 port 8 port 9\n")
    text = RUNTEST.replace(
        "  print MUNGED;", "s/uid $>/UID/; s/port ${\\$dynamic_socket->sockport}/PORT/; print MUNGED;"
    )
    with started(text, WORDS.with_socket(8), frozenset(), tmp_path) as munger:
        assert munger.munged("mainlog", "one") == ("UID PORT port 9\n", False)


def test_ids_keep_their_number_over_all_files(tmp_path: Path):
    (tmp_path / "one").write_text("abcdef-abcdef-ab zzzzzz-zzzzzz-zz\n")
    with started(RUNTEST, WORDS, frozenset(), tmp_path) as munger:
        assert munger.munged("mainlog", "one") == ("10HmaX-0005vi-00 10HmaY-0005vi-00\n", False)
        assert munger.name("zzzzzz-zzzzzz-zz") == "10HmaY-0005vi-00"
        assert munger.munged("mainlog", "none", "one")[0].startswith("\n******** SERVER ********\n10HmaX")


def test_a_program_that_knows_that_it_is_tested():
    binary = b"..>>>running<<<..4.96-1\0<<eximversion>>.."
    assert patched(binary) == b"..<<<testing>>>..x.yz\0" + b"*" * 17 + b".."
    assert len(patched(binary)) == len(binary)


def test_an_option_takes_the_place_of_a_comment():
    assert first_comment_as("a = b\n", "# test 1\nc = d\n") == "a = b\nc = d\n"
    assert first_comment_as("a = b\n", "c = d\n") == "c = d\n"
    assert first_comment_as("", "# test 1\nc = d\n") == "# test 1\nc = d\n"


def test_numbers_choose_tests(tmp_path: Path):
    (tmp_path / "scripts/one").mkdir(parents=True)
    for name in ("0001", "0005", "0010", "REQUIRES"):
        (tmp_path / "scripts/one" / name).touch()
    assert command.tests(tmp_path, "one", []) == ["0001", "0005", "0010"]
    assert command.tests(tmp_path, "one", ["0002-0009", "0010"]) == ["0005", "0010"]


def test_a_report_counts_causes_and_names_failures(tmp_path: Path):
    said = ("relay-sendmail: -x is not served",)
    failed = Verdict("0001", "Ours", Result.RETURNS, "line 2: exim returned 1, not 0", said=said)
    kept = tmp_path / "verdicts"
    save(kept, [("one", failed)])
    ours = load(kept)
    assert ours == {("one", "0001"): failed}
    text = compared(ours, {("one", "0001"): Verdict("0001", "Ours", Result.PASSED)})
    assert "| 1 | 1 | 1 | -x is not served | 0001 |" in text
    assert "- one/0001 Ours: returns line 2: exim returned 1, not 0" in text


def test_one_account_for_both_users_is_shown_as_the_caller(suite: Suite):
    stage = suite("exim\n****\n", stdout_0001="by EXIMUSER for CALLER\n")
    assert stage.saved("stdout/0001") == "by EXIMUSER for CALLER\n"
    both = replace(stage, words=replace(stage.words, exim_user=stage.words.caller))
    assert both.saved("stdout/0001") == "by CALLER for CALLER\n"
