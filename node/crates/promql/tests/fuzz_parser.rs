//! Any text: an answer, never a panic; what parses prints and parses back.

#![allow(clippy::unwrap_used)] // tests may stop where they fail, their helpers included

use bellwether_promql::{EvalTimes, Plan, parse};

#[test]
fn any_text_is_parsed_or_refused() {
    bolero::check!().for_each(|bytes: &[u8]| check(&String::from_utf8_lossy(bytes)));
}

/// Random bytes rarely get far: this strings the language's own words together.
#[test]
fn any_words_are_parsed_or_refused() {
    const WORDS: [&str; 64] = [
        "foo",
        "sum",
        "rate",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"a\"",
        "=",
        "=~",
        "!=",
        "5m",
        "1",
        "0x1f",
        "-",
        "+",
        "*",
        "^",
        " and ",
        " or ",
        " on ",
        " by ",
        " ignoring ",
        " group_left ",
        " bool ",
        " offset ",
        "@",
        "start()",
        ":",
        ":5m]",
        "[5m",
        " unless ",
        "topk",
        "a",
        "==",
        "label_replace",
        "Inf",
        " anchored",
        " smoothed",
        " fill(1)",
        " fill_left(",
        " fill_right",
        "step()",
        "range()",
        "min_of(",
        "max_of",
        "info(",
        "{a=\"b\"}",
        "</",
        ">/",
        "/",
        "%",
        "end",
        "rate(foo[",
        "5m])",
        "1m + ",
        " offset (",
        "@ 1",
        "{\"a.b\"}",
        "foo{",
        "a=~\".*\"",
    ];
    bolero::check!().for_each(|bytes: &[u8]| {
        let text: String = bytes.iter().map(|byte| WORDS[*byte as usize % WORDS.len()]).collect();
        check(&text);
    });
}

fn check(text: &str) {
    let Ok(expr) = parse(text) else { return };
    let printed = expr.to_string();
    let again = parse(&printed).unwrap_or_else(|error| panic!("{text:?} prints as {printed:?}: {error}"));
    assert_eq!(again.to_string(), printed);
    let _ = Plan::new(&expr, EvalTimes::instant(i64::MAX), 300_000);
    let _ = Plan::new(&expr, EvalTimes::range(0, 1_000_000, 1000).unwrap(), 300_000);
}
