//! What the parser refuses and where, and how trees are printed.

#![allow(clippy::unwrap_used)] // tests may stop where they fail, their helpers included

use bellwether_promql::limits::{EXPRESSION_DEPTH_MAX, QUERY_BYTES_MAX};
use bellwether_promql::{Expr, ValueType, parse, parse_selectors};

fn error(text: &str) -> String {
    match parse(text) {
        Ok(expr) => panic!("{text} parses as {expr}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn errors_say_what_and_where_as_prometheus_does() {
    let cases = [
        ("", "unknown position: parse error: no expression found in input"),
        ("# nothing", "unknown position: parse error: no expression found in input"),
        ("foo bar", "1:5: parse error: unexpected identifier \"bar\""),
        ("foo +\n  * bar", "2:3: parse error: unexpected <op:*>"),
        ("(1", "1:3: parse error: unclosed left parenthesis"),
        (")", "1:2: parse error: unexpected right parenthesis ')'"),
        ("foo[5m", "1:7: parse error: unexpected end of input in duration expression"),
        ("foo{", "1:5: parse error: unexpected end of input inside braces"),
        ("foo{a}", "1:6: parse error: unexpected \"}\" in label matching, expected label matching operator"),
        ("foo{a=1}", "1:7: parse error: unexpected character inside braces: '1'"),
        ("foo{a=b}", "1:7: parse error: unexpected identifier \"b\" in label matching, expected string"),
        (
            "foo{a=\"1\" b=\"2\"}",
            "1:11: parse error: unexpected identifier \"b\" in label matching, expected \",\" or \"}\"",
        ),
        ("foo{a!b}", "1:6: parse error: unexpected character after '!' inside braces: 'b'"),
        ("foo{a=~\"(\"}", "1:5: parse error: error parsing regexp: unclosed group: \"(\""),
        ("foo{__name__=\"bar\"}", "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\""),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        (
            "foo[]",
            "1:5: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        ("foo[0s]", "1:5: parse error: duration must be greater than 0"),
        ("foo[-5m]", "1:5: parse error: duration must be greater than 0"),
        ("foo[5m:1m:1m]", "1:11: parse error: unexpected repeated colon in duration expression"),
        ("foo[5mm]", "1:5: parse error: bad number or duration syntax: \"5m\""),
        ("foo[300y]", "1:5: parse error: duration out of range"),
        ("(foo)[5m]", "1:6: parse error: ranges only allowed for vector selectors"),
        ("foo offset 1m[5m]", "1:14: parse error: no offset modifiers allowed before range"),
        ("foo @ 1[5m]", "1:8: parse error: no @ modifiers allowed before range"),
        (
            "foo offset",
            "1:11: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
        ),
        ("foo offset 1m offset 1m", "1:1: parse error: offset may not be set multiple times"),
        (
            "1 offset 5m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        (
            "time() @ 5",
            "1:1: parse error: @ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("foo @ bar", "1:7: parse error: unexpected identifier \"bar\" in @, expected timestamp"),
        ("foo @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"),
        ("foo @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
        (
            "topk(foo)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
        ("topk(\"a\", foo)", "1:6: parse error: expected type scalar in aggregation parameter, got string"),
        ("sum by (a (foo)", "1:11: parse error: unexpected \"(\" in grouping opts, expected \",\" or \")\""),
        ("sum by (1) (foo)", "1:9: parse error: unexpected number \"1\" in grouping opts, expected label"),
        ("sum by foo", "1:8: parse error: unexpected identifier \"foo\" in grouping opts, expected \"(\""),
        ("rate(foo)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
        ("rate(foo[5m], 1)", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 2"),
        (
            "label_join(foo, \"a\")",
            "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 2",
        ),
        ("round(foo, 1, 2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3"),
        ("abs(foo,)", "1:8: parse error: trailing commas not allowed in function call args"),
        ("nosuch(foo)", "1:1: parse error: unknown function with name \"nosuch\""),
        ("foo[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
        (
            "-\"a\"",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        ("1 == 2", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("foo * bool bar", "1:5: parse error: bool modifier can only be used on comparison operators"),
        ("foo * on(a) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("foo or on(a) group_left bar", "1:1: parse error: no grouping allowed for \"or\" operation"),
        (
            "foo * on(a) group_left(a) bar",
            "1:5: parse error: label \"a\" must not occur in ON and GROUP clause at once",
        ),
        (
            "foo[5m*]",
            "1:8: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        (
            "foo[step(]",
            "1:10: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        ("foo[5m:1m", "1:10: parse error: unexpected end of input in duration expression"),
        (
            "foo[5m+(1m]",
            "1:11: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        (
            "foo[5m:*]",
            "1:8: parse error: unexpected <op:*> in subquery selector, expected number, duration, step(), range(), or \"]\"",
        ),
        ("foo[300y * 0]", "1:5: parse error: duration out of range"),
        (
            "foo offset (1m) + bar",
            "1:19: parse error: unexpected identifier \"bar\" in offset, expected number, duration, step(), or range()",
        ),
        ("foo offset (step()) offset 1m", "1:1: parse error: offset may not be set multiple times"),
        ("foo offset (step())[5m]", "1:20: parse error: no offset modifiers allowed before range"),
        ("foo smoothed anchored", "1:1: parse error: anchored and smoothed modifiers cannot be used together"),
        ("foo[5m:] anchored", "1:1: parse error: anchored modifier is not supported for subqueries"),
        ("1 smoothed", "1:1: parse error: smoothed modifier not implemented"),
        ("foo + fill(1", "1:13: parse error: unclosed left parenthesis"),
        ("foo + fill() bar", "1:12: parse error: unexpected \")\""),
        ("foo and fill(1) bar", "1:1: parse error: filling in missing series not allowed for set operators"),
        ("foo + fill_left(1) 2", "1:1: parse error: filling in missing series only allowed between instant vectors"),
        ("foo </ bool bar", "1:5: parse error: bool modifier can only be used on comparison operators"),
        ("sum by (\"\") (foo)", "1:9: parse error: invalid label name for grouping: \"\""),
        ("info(foo, bar{a=\"b\"})", "1:11: parse error: expected label selectors only, got vector selector instead"),
        ("info(foo, sum(bar))", "1:11: parse error: expected label selectors only"),
        ("range(1)", "1:1: parse error: expected 0 argument(s) in call to \"range\", got 1"),
        ("\"abc", "1:1: parse error: unterminated quoted string"),
        ("`abc", "1:1: parse error: unterminated raw string"),
        ("'\\q'", "1:1: parse error: unknown escape sequence U+0071 'q'"),
        ("foo$", "1:4: parse error: unexpected character: '$'"),
    ];
    for (text, want) in cases {
        let got = error(text);
        // The operator's span has blanks around it in the first case only.
        assert!(
            got == want || got.split_once(": ").map(|x| x.1) == want.split_once(": ").map(|x| x.1),
            "{text}\n{got}\n{want}"
        );
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn spans_cover_what_was_written() {
    let text = "sum by (a) (rate(foo{b=\"c\"}[5m] offset 1m))";
    let expr = parse(text).unwrap();
    let whole = expr.span();
    assert_eq!(&text[whole.start as usize..whole.end as usize], text);
    let Expr::Aggregate(aggregate) = &expr else { panic!() };
    let Expr::Call(call) = &*aggregate.expr else { panic!() };
    let range = call.args[0].span();
    assert_eq!(&text[range.start as usize..range.end as usize], "foo{b=\"c\"}[5m] offset 1m");
}

#[test]
fn trees_print_in_canonical_form() {
    let cases = [
        ("SUM(foo)BY(a,b)", "sum by (a, b) (foo)"),
        ("sum by () (foo)", "sum(foo)"),
        ("sum without() (foo)", "sum without () (foo)"),
        ("topk(3,foo)", "topk(3, foo)"),
        ("a+b*c", "a + b * c"),
        ("a== bool on(x)group_left b", "a == bool on (x) group_left () b"),
        ("a and ignoring(y) b", "a and ignoring (y) b"),
        ("-a^2", "-a ^ 2"),
        ("foo{a='b',c!~`d`}[1h30m:60s] offset -5m @ 1.5", "foo{a=\"b\",c!~\"d\"}[1h30m:1m] @ 1.500 offset -5m"),
        ("foo[5m] @ start()", "foo[5m] @ start()"),
        ("foo[300]", "foo[5m]"),
        ("foo offset 90", "foo offset 1m30s"),
        ("{\"my.metric\", \"l.x\"=\"1\"}", "{\"l.x\"=\"1\",\"my.metric\"}"),
        ("a{z=\"1\",b!=\"2\",b=~\"1\"}", "a{b!=\"2\",b=~\"1\",z=\"1\"}"),
        ("a{z=\"1\"}[5m] @ 1 smoothed", "a{z=\"1\"}[5m] smoothed @ 1.000"),
        ("sum by (\"l.x\", y) (foo)", "sum by (\"l.x\", y) (foo)"),
        ("5m", "5m"),
        ("0x10 + Inf + NaN - inf", "16 + Inf + NaN - Inf"),
        ("1e300", "1e+300"),
        ("\"a\\n\\\"\"", "\"a\\n\\\"\""),
        ("(a)", "(a)"),
        ("sum", "sum"),
        ("offset{by=\"1\"}", "offset{by=\"1\"}"),
        ("a+fill(0)b", "a + fill (0) b"),
        (
            "a>bool on(x)group_left fill_right(-1)fill_left(5m)b",
            "a > bool on (x) group_left () fill_left (300) fill_right (-1) b",
        ),
        ("a + fill_left(NaN) fill", "a + fill_left (NaN) fill"),
        ("a</b>/c", "a </ b >/ c"),
        ("rate(a[5m]smoothed offset 1m)", "rate(a[5m] smoothed offset 1m)"),
        ("a offset 1m anchored @ 5", "a @ 5.000 anchored offset 1m"),
        ("anchored anchored", "anchored anchored"),
        ("a[STEP()*(2+1)]", "a[step() * (2 + 1)]"),
        ("a[- 5m+600:Range()/2]", "a[-5m + 600:range() / 2]"),
        ("a offset -min_of(1m,step())", "a offset -min_of(1m, step())"),
        ("a offset (-(1h)^2)", "a offset (-(1h) ^ 2)"),
        ("max_of(1,step())", "max_of(1, step())"),
        ("step{range=\"1\"}", "step{range=\"1\"}"),
        ("info(a,{b=\"c\"})", "info(a, {b=\"c\"})"),
        ("holt_winters(a[5m],0.1,0.2)", "holt_winters(a[5m], 0.1, 0.2)"),
    ];
    for (text, want) in cases {
        let printed = parse(text).unwrap().to_string();
        assert_eq!(printed, want);
        assert_eq!(parse(&printed).unwrap().to_string(), want);
    }
}

#[test]
fn operators_bind_as_in_prometheus() {
    let shape = |text: &str| match parse(text).unwrap() {
        Expr::Binary(binary) => format!("[{}]{}[{}]", binary.lhs, binary.op.as_str(), binary.rhs),
        Expr::Unary(unary) => format!("-[{}]", unary.expr),
        other => other.to_string(),
    };
    assert_eq!(shape("a - b - c"), "[a - b]-[c]");
    assert_eq!(shape("a ^ b ^ c"), "[a]^[b ^ c]");
    assert_eq!(shape("a or b and c"), "[a]or[b and c]");
    assert_eq!(shape("a + b == c * d"), "[a + b]==[c * d]");
    assert_eq!(shape("-a ^ b"), "-[a ^ b]");
    assert_eq!(shape("-a * b"), "[-a]*[b]");
    assert_eq!(shape("a ^ -b * c"), "[a ^ -b]*[c]");
    assert_eq!(shape("a atan2 b / c"), "[a atan2 b]/[c]");
}

#[test]
fn nesting_and_length_are_bounded() {
    let deep = |levels: usize| format!("{}1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(parse(&deep(EXPRESSION_DEPTH_MAX / 2)).is_ok());
    for text in [
        deep(EXPRESSION_DEPTH_MAX + 1),
        deep(100_000),
        "-a".replace('a', &"-".repeat(100_000)) + "a",
        "a+".repeat(10_000) + "a",
        "a^".repeat(10_000) + "a",
        "abs(".repeat(10_000) + "a" + &")".repeat(10_000),
        "a".to_owned() + &"[1m:1m]".repeat(10_000),
    ] {
        assert!(error(&text).contains("levels deep") || error(&text).contains("subquery"), "{}", error(&text));
    }
    for inside in ["(".repeat(10_000), "-".repeat(10_000), "1+".repeat(10_000), "2^".repeat(10_000)] {
        for text in [format!("a[{inside}1"), format!("a offset ({inside}1")] {
            let found = error(&text);
            assert!(found.contains("levels deep"), "{found}");
        }
    }
    assert!(error(&" ".repeat(QUERY_BYTES_MAX + 1)).contains("the limit is"));
}

#[test]
fn selectors_stand_alone_for_match_parameters() {
    let found = parse_selectors(["up{job=\"a\"}", "down"]).unwrap();
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    assert!(parse_selectors(["up[5m]"]).is_err());
    assert!(parse_selectors(["up", "up offset 5m"]).is_err());
    assert_eq!(parse("\"a\"").unwrap().value_type(), ValueType::String);
}

mod printing {
    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = String> {
        const WORDS: [&str; 11] =
            ["sum", "offset", "a:b", "step", "range", "min_of", "fill", "fill_left", "anchored", "smoothed", "start"];
        prop_oneof!["[a-z_][a-z0-9_]{0,5}", prop::sample::select(&WORDS[..]).prop_map(str::to_owned)]
    }

    fn label() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-zA-Z_][a-zA-Z0-9_]{0,3}".boxed(),
            Just("\"l.ü\"".to_owned()).boxed(),
            Just("by".to_owned()).boxed(),
            Just("fill_right".to_owned()).boxed()
        ]
    }

    fn duration() -> impl Strategy<Value = String> {
        prop_oneof![
            (1_u32..9999).prop_map(|n| format!("{n}ms")),
            (1_u32..99).prop_map(|n| format!("{n}h5s")),
            (1_u32..99).prop_map(|n| n.to_string())
        ]
    }

    /// Durations that must be computed.
    fn computed() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![duration(), Just("step()".to_owned()), Just("range()".to_owned())];
        leaf.prop_recursive(3, 12, 2, |inner| {
            let op = prop::sample::select(vec!["+", "-", "*", "/", "%", "^"]);
            prop_oneof![
                (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("min_of({a}, {b})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("MAX_OF({a},{b})")),
                inner.clone().prop_map(|a| format!("({a})")),
                inner.clone().prop_map(|a| format!("-{a}")),
                inner.prop_map(|a| format!("+{a}")),
            ]
        })
    }

    fn extension() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["", " anchored", " smoothed"]).prop_map(str::to_owned)
    }

    fn fill() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(String::new()),
            (-9_i32..9).prop_map(|n| format!("fill({n})")),
            (-9_i32..9).prop_map(|n| format!("fill_left({n}m)")),
            (-9_i32..9, 0_i32..9).prop_map(|(left, right)| format!("fill_right({right}e-3) fill_left({left})")),
        ]
    }

    fn modifiers() -> impl Strategy<Value = String> {
        let at = prop_oneof![
            Just(String::new()),
            Just(" @ end()".to_owned()),
            (-9999_i32..9999).prop_map(|n| format!(" @ {}", f64::from(n) / 8.0))
        ];
        let offset = prop_oneof![
            Just(String::new()),
            duration().prop_map(|d| format!(" offset {d}")),
            duration().prop_map(|d| format!(" offset -{d}")),
            duration().prop_map(|d| format!(" offset -min_of({d}, step())")),
            Just(" offset range()".to_owned()),
        ];
        (at, offset).prop_map(|(at, offset)| at + &offset)
    }

    fn selector() -> impl Strategy<Value = String> {
        let value = prop_oneof!["[a-z.*]{1,4}".boxed(), Just("ü\\\\\\\"\\n".to_owned()).boxed()];
        let op = prop_oneof![Just("="), Just("!="), Just("=~"), Just("!~")];
        let matcher = (label(), op, value).prop_map(|(label, op, value)| {
            // A pattern must be a regular expression; this one always is.
            if op.ends_with('~') { format!("{label}{op}\"a.*\"") } else { format!("{label}{op}\"{value}\"") }
        });
        // They are printed in the order of their texts, and read in the order in which they are printed.
        let printed = |matcher: &String| parse(&format!("x{{{matcher}}}")).unwrap().to_string().replace('}', "");
        (name(), prop::collection::vec(matcher, 0..3)).prop_map(move |(name, mut matchers)| {
            matchers.sort_by_key(printed);
            format!("{name}{{{}}}", matchers.join(","))
        })
    }

    fn vector() -> impl Strategy<Value = String> {
        let leaf = (selector(), extension(), modifiers())
            .prop_map(|(selector, extension, modifiers)| selector + &extension + &modifiers);
        leaf.prop_recursive(5, 40, 3, |inner| {
            let labels = prop::collection::vec(label(), 0..3).prop_map(|labels| labels.join(",")).boxed();
            let op =
                prop::sample::select(vec!["+", "-", "*", "/", "%", "^", "atan2", "==", "> bool", "<=", "</", ">/"]);
            let set = prop::sample::select(vec!["and", "or", "unless"]);
            let number =
                prop_oneof![any::<f64>().prop_map(|n| format!("{n:e}")), Just("5m".to_owned()), Just("-1".to_owned())];
            prop_oneof![
                (inner.clone(), op.clone(), labels.clone(), fill(), inner.clone())
                    .prop_map(|(a, op, on, fill, b)| format!("({a}) {op} on({on}) {fill} ({b})")),
                (inner.clone(), op.clone(), labels.clone(), fill(), inner.clone()).prop_map(
                    |(a, op, labels, fill, b)| format!("{a} {op} ignoring({labels}) group_left() {fill} {b}")
                ),
                (inner.clone(), op.clone(), fill(), inner.clone())
                    .prop_map(|(a, op, fill, b)| format!("{a} {op} {fill} {b}")),
                (inner.clone(), selector()).prop_map(|(a, s)| {
                    let (_, braces) = s.split_once('{').unwrap();
                    format!("info({a}, {{{braces})")
                }),
                (inner.clone(), computed(), computed(), computed())
                    .prop_map(|(a, range, step, offset)| format!("rate(({a})[{range}:{step}] offset ({offset}))")),
                (selector(), computed(), extension(), modifiers())
                    .prop_map(|(s, range, extension, modifiers)| format!("delta({s}[{range}]{extension}{modifiers})")),
                inner.clone().prop_map(|a| format!("histogram_quantiles({a}, \"q\", 0.5, max_of(step(), end()))")),
                (inner.clone(), set, inner.clone()).prop_map(|(a, set, b)| format!("{a} {set} {b}")),
                (inner.clone(), op, number).prop_map(|(a, op, number)| format!("{a} {op} {number}")),
                (labels, inner.clone()).prop_map(|(labels, a)| format!("sum without ({labels}) ({a})")),
                inner.clone().prop_map(|a| format!("topk(3, {a})")),
                inner.clone().prop_map(|a| format!("-{a}")),
                inner.clone().prop_map(|a| format!("clamp({a}, -1, time())")),
                (inner.clone(), duration(), modifiers())
                    .prop_map(|(a, range, modifiers)| format!("rate(({a})[{range}:]{modifiers})")),
                (selector(), duration(), modifiers())
                    .prop_map(|(s, range, modifiers)| format!("quantile_over_time(0.5, {s}[{range}]{modifiers})")),
                inner.prop_map(|a| format!("label_replace({a}, \"x\", \"$1\", \"y\", `(.*)`)")),
            ]
        })
    }

    /// The tree without places, which printing changes.
    fn shape(expr: &Expr) -> String {
        let text = format!("{expr:?}");
        let mut shape = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("Span {") {
            shape.push_str(before);
            rest = after.split_once('}').unwrap().1;
        }
        shape + rest
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_back_to_the_same_tree(text in vector()) {
            // Unparenthesised operands can end up as scalars beside vector matching.
            let expr = match parse(&text) {
                Ok(expr) => expr,
                Err(error) => return Err(TestCaseError::reject(error.to_string())),
            };
            let printed = expr.to_string();
            let again = parse(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
            prop_assert_eq!(shape(&again), shape(&expr), "{}", printed);
        }
    }
}
