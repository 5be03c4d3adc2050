//! The real `bwctl rules` over files: what it says of them, and how it ends. `promtool` gave the same verdicts of the tests, and but
//! for places the same texts.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use std::path::Path;
use std::process::{Command, Stdio};

use expect_test::{Expect, ExpectFile, expect, expect_file};

fn bwctl(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bwctl"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules"));
    let output = command.args(arguments).env_clear().stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    format!("{}{}-> {code}\n", text(output.stdout), text(output.stderr))
}

#[track_caller]
fn check(arguments: &str, expected: Expect) {
    expected.assert_eq(&bwctl(&arguments.split(' ').collect::<Vec<_>>()));
}

#[track_caller]
fn check_file(arguments: &str, expected: ExpectFile) {
    expected.assert_eq(&bwctl(&arguments.split(' ').collect::<Vec<_>>()));
}

#[test]
fn good_rules_are_counted() {
    check(
        "rules check good.rules.yml times.rules.yml",
        expect![[r#"
        Checking good.rules.yml
          SUCCESS: 4 rules found

        Checking times.rules.yml
          SUCCESS: 8 rules found

        -> 0
    "#]],
    );
    check(
        "rules check good.rules.yml --json",
        expect![[r#"
        {
          "duplicates": [],
          "files": [
            {
              "file": "good.rules.yml",
              "groups": 3,
              "rules": 4
            }
          ]
        }
        -> 0
    "#]],
    );
}

#[test]
fn broken_rules_are_told_with_their_places() {
    check_file("rules check broken.rules.yml good.rules.yml", expect_file!["rules/broken.rules.out"]);
    check(
        "rules check nowhere.yml",
        expect![[r#"
        Checking nowhere.yml
          FAILED:
        nowhere.yml: No such file or directory (os error 2)

        -> 1
    "#]],
    );
}

#[test]
fn rules_that_cannot_be_told_apart_are_told() {
    check(
        "rules check dup.rules.yml",
        expect![[r#"
        Checking dup.rules.yml
          SUCCESS: 3 rules found

        1 duplicate rule(s) found.
        Metric: A
        Label(s):
        	x: all
        Place(s):
        	dup.rules.yml:8:16
        	dup.rules.yml:11:16
        What they store, or alert of, cannot be told apart.
        -> 0
    "#]],
    );
    check(
        "rules check --lint-fatal dup.rules.yml",
        expect![[r#"
        Checking dup.rules.yml
          SUCCESS: 3 rules found

        1 duplicate rule(s) found.
        Metric: A
        Label(s):
        	x: all
        Place(s):
        	dup.rules.yml:8:16
        	dup.rules.yml:11:16
        What they store, or alert of, cannot be told apart.
        -> 1
    "#]],
    );
    check(
        "rules check dup.rules.yml --json",
        expect![[r#"
        {
          "duplicates": [
            {
              "labels": {
                "x": "all"
              },
              "name": "A",
              "places": [
                "dup.rules.yml:8:16",
                "dup.rules.yml:11:16"
              ]
            }
          ],
          "files": [
            {
              "file": "dup.rules.yml",
              "groups": 2,
              "rules": 3
            }
          ]
        }
        -> 0
    "#]],
    );
}

#[test]
fn tests_that_hold_succeed() {
    check(
        "rules test good.test.yml times.test.yml start.test.yml",
        expect![[r#"
        Unit Testing:  good.test.yml
          SUCCESS

        Unit Testing:  times.test.yml
          SUCCESS

        Unit Testing:  start.test.yml
          SUCCESS

        -> 0
    "#]],
    );
    check(
        "rules test good.test.yml --json",
        expect![[r#"
        [
          {
            "file": "good.test.yml",
            "tests": [
              {
                "failures": [],
                "name": "a node goes down"
              }
            ],
            "warnings": []
          }
        ]
        -> 0
    "#]],
    );
}

#[test]
fn tests_that_do_not_hold_say_what_there_is_instead() {
    check_file("rules test show.test.yml", expect_file!["rules/show.test.out"]);
    check_file("rules test --diff show.test.yml", expect_file!["rules/show.test.diff.out"]);
    check(
        "rules test dup.test.yml",
        expect![[r#"
        Unit Testing:  dup.test.yml
          WARNING: no file match pattern none*.yml
          FAILED:
            rule: same, time: 0s, err: vector cannot contain metrics with the same labelset

            rule: A, time: 0s, err: vector contains metrics with the same labelset after applying alert labels


        -> 1
    "#]],
    );
}

#[test]
fn histograms_are_compared_as_they_are_written() {
    check(
        "rules test histograms.test.yml histograms_fail.test.yml",
        expect![[r#"
        Unit Testing:  histograms.test.yml
          SUCCESS

        Unit Testing:  histograms_fail.test.yml
          FAILED:
            expr: "latency", time: 0s,
                exp: {__name__="latency", path="/a"} {{count:4}}
                got: {__name__="latency", path="/a"} {{count:3 sum:4.5 offset:1 buckets:[1 2]}}

            expr: "latency", time: 0s,
                exp: {__name__="latency", path="/a"} 3E+00
                got: {__name__="latency", path="/a"} {{count:3 sum:4.5 offset:1 buckets:[1 2]}}


        -> 1
    "#]],
    );
}

#[test]
fn only_tests_that_are_named_run() {
    check(
        "rules test --run ^between$ times.test.yml --json",
        expect![[r#"
        [
          {
            "file": "times.test.yml",
            "tests": [
              {
                "failures": [],
                "name": "between"
              }
            ],
            "warnings": []
          }
        ]
        -> 0
    "#]],
    );
    check(
        "rules test --run ( times.test.yml",
        expect![[r#"
        error: invalid value '(' for '--run <REGEX>': regex parse error:
            (
            ^
        error: unclosed group

        For more information, try '--help'.
        -> 2
    "#]],
    );
}

#[test]
fn broken_tests_are_told_with_their_places() {
    check(
        "rules test broken.test.yml",
        expect![[r#"
        Unit Testing:  broken.test.yml
          FAILED:
        broken.test.yml:1:33: an item of rule_files must be a text, this is a mapping

        broken.test.yml:2:22: evaluation_interval: not a valid duration string: "1 m"

        broken.test.yml:3:23: group name repeated in evaluation order: a

        broken.test.yml:4:1: unknown field "test" in a file of unit tests; do you mean tests?

        broken.test.yml:8:18: test 1, "broken": series: "up{a!=\"b\"}" is no series

        broken.test.yml:8:40: test 1, "broken": values: "x" is no value: how often is no number

        broken.test.yml:9:9: test 1, "broken": a series needs the field 'series'

        broken.test.yml:11:9: test 1, "broken": an item under alert_rule_test misses required attribute alertname

        broken.test.yml:11:37: test 1, "broken": exp_alerts must be a list, this is a scalar

        broken.test.yml:13:23: test 1, "broken": expr: 1:7: parse error: unclosed left parenthesis

        broken.test.yml:13:49: test 1, "broken": labels: in "up{": 1:4: parse error: unexpected end of input inside braces

        broken.test.yml:13:63: test 1, "broken": value must be a number

        broken.test.yml:14:9: test 1, "broken": an expression test needs the field 'expr'


        -> 1
    "#]],
    );
}

#[test]
fn a_broken_test_makes_no_other_fail() {
    check(
        "rules test mixed.test.yml --run good",
        expect![[r#"
        Unit Testing:  mixed.test.yml
          SUCCESS

        -> 0
    "#]],
    );
    check(
        "rules test mixed.test.yml",
        expect![[r#"
        Unit Testing:  mixed.test.yml
          FAILED:
            7:27: test 2, "broken": series: in "up{": 1:4: parse error: unexpected end of input inside braces

            7:42: test 2, "broken": values: "x" is no value: how often is no number

            8:34: test 2, "broken": expr: 1:5: parse error: unexpected end of input


        -> 1
    "#]],
    );
    check(
        "rules test mixed.test.yml --json",
        expect![[r#"
        [
          {
            "file": "mixed.test.yml",
            "tests": [
              {
                "failures": [],
                "name": "good"
              },
              {
                "failures": [
                  "    7:27: test 2, \"broken\": series: in \"up{\": 1:4: parse error: unexpected end of input inside braces",
                  "    7:42: test 2, \"broken\": values: \"x\" is no value: how often is no number",
                  "    8:34: test 2, \"broken\": expr: 1:5: parse error: unexpected end of input"
                ],
                "name": "broken"
              }
            ],
            "warnings": []
          }
        ]
        -> 1
    "#]],
    );
}
