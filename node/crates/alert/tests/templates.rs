//! Templates: what they give, and what is said when they fail.

#![allow(clippy::unwrap_used)] // tests may stop where they fail, their helpers included

use bellwether_alert::template::alert::{AlertData, AlertTemplate};
use bellwether_alert::template::{Functions, Surroundings, Template, Value};
use bellwether_model::Labels;
use bellwether_promql::{Point, VectorSample};
use expect_test::expect_file;
use proptest::prelude::*;

struct World;

impl Surroundings for World {
    fn now_ms(&self) -> i64 {
        1_500
    }

    fn external_url(&self) -> &str {
        "http://host:9090/pre"
    }

    fn query(&self, text: &str) -> Result<Vec<(Labels, f64)>, String> {
        match text {
            "two" => Ok(vec![(Labels::of(&[("x", "b")]), 2.0), (Labels::of(&[("x", "a")]), 1.0)]),
            "up" => Ok(vec![(Labels::of(&[("instance", "b")]), 1.0), (Labels::of(&[("instance", "c")]), 2.0)]),
            "sum(up)" => Ok(vec![(Labels::empty(), 3.0)]),
            "1" => Ok(vec![(Labels::empty(), 1.0)]),
            "none" => Ok(Vec::new()),
            _ => Err(format!("no such query: {text}")),
        }
    }
}

/// What a label of the rule `A` gives for the series `{a="A", job="j", x="1"}` with the value 3.
fn expand(text: &str) -> String {
    match AlertTemplate::parse("A", text) {
        Ok(template) => {
            let labels = Labels::of(&[("a", "A"), ("job", "j"), ("x", "1")]);
            let point = Point { timestamp: 0, value: 3.0 };
            let sample = VectorSample { labels, point, histogram: None };
            let data = AlertData::new(&sample, &Labels::of(&[("zone", "z")]), "http://host:9090/pre");
            AlertTemplate::expand(&template, "A", &data, &World).0
        }
        Err(error) => format!("! {error}"),
    }
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(expand(text), *expected, "{text}");
    }
}

/// What promtool 2.42 gives for the same texts in unit tests was compared by hand: it differs where it prints addresses, where a
/// later Go says or can do something else, and where Prometheus 3 does (the type of `.Value`).
#[test]
fn the_corpus_is_expanded() {
    let mut said = String::new();
    for text in include_str!("corpus/templates.txt").lines() {
        let expanded = expand(&text.replace('␤', "\n")).replace('\n', "␤");
        said.push_str(&format!("{text}\n    {expanded}\n"));
    }
    expect_file!["corpus/expanded.txt"].assert_eq(&said);
}

#[test]
fn text_and_trimming() {
    check(&[
        ("plain } text", "plain } text"),
        ("a {{- 1 -}} b", "a1b"),
        ("a {{/* comment */}} b", "a  b"),
        ("a {{- /* comment */ -}} b", "ab"),
        ("{{ \"a\\n\\u00e9\" }}{{ `r\\n` }}{{ 'a' }}", "a\nér\\n97"),
        ("{{ -1 }} {{ 0x1F }} {{ 1e3 }} {{ 1_000 }} {{ 1.5 }} {{ true }}", "-1 31 1000 1000 1.5 true"),
    ]);
}

#[test]
fn data_and_variables() {
    check(&[
        ("{{ $labels.job }} {{ .Labels.x }} {{ $value }} {{ .Value }} {{ $externalLabels.zone }}", "j 1 3 3 z"),
        (
            "{{ $externalURL }} {{ externalURL }} {{ pathPrefix }} {{ now }}",
            "http://host:9090/pre http://host:9090/pre /pre 1.5",
        ),
        ("[{{ $labels.nothing }}]", "[]"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}", "1"),
        ("{{ $labels }}", "map[a:A job:j x:1]"),
        ("{{ with $labels }}{{ .job }}{{ $.Value }}{{ end }}", "j3"),
    ]);
}

#[test]
fn control() {
    check(&[
        ("{{ if false }}a{{ else if eq $value 3.0 }}b{{ else }}c{{ end }}", "b"),
        ("{{ with \"\" }}a{{ else }}b{{ end }}", "b"),
        ("{{ with \"\" }}a{{ else with 5 }}{{ . }}{{ end }}", "5"),
        ("{{ range query \"two\" }}{{ .Labels.x }}{{ .Value }} {{ end }}", "b2 a1 "),
        ("{{ range $i, $s := sortByLabel \"x\" (query \"two\") }}{{ $i }}{{ $s.Labels.x }} {{ end }}", "0a 1b "),
        ("{{ range query \"none\" }}a{{ else }}b{{ end }}", "b"),
        (
            "{{ range 5 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ if eq . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "02",
        ),
        ("{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}", "a=A;job=j;x=1;"),
        ("{{ define \"t\" }}[{{ . }}]{{ end }}{{ template \"t\" 1 }}{{ template \"t\" $value }}", "[1][3]"),
        ("{{ block \"t\" $value }}({{ . }}){{ end }}", "(3)"),
    ]);
}

#[test]
fn functions() {
    check(&[
        ("{{ and 1 0 2 }} {{ or 0 \"\" 2 }} {{ not 0 }} {{ and true }}", "0 2 true true"),
        ("{{ and false (index $labels 1) }}", "false"),
        (
            "{{ eq 1 2 1 }} {{ ne \"a\" \"b\" }} {{ lt 1 2 }} {{ le 2 2 }} {{ gt 1.5 1.0 }} {{ ge \"b\" \"a\" }}",
            "true true true true true true",
        ),
        ("{{ len \"abc\" }} {{ len $labels }} {{ index $labels \"job\" }} {{ slice \"abcdef\" 2 4 }}", "3 3 j cd"),
        ("{{ query \"two\" | first | label \"x\" }} {{ query \"two\" | first | value }}", "b 2"),
        ("{{ 1234567.0 | humanize }} {{ \"1500\" | humanize }} {{ 90 | humanizeDuration }}", "1.235M 1.5k 1m 30s"),
        (
            "{{ (toTime 0).Format \"2006\" }} {{ (1435065584.128 | toTime).Year }} {{ toDuration 90 }}",
            "1970 2015 1m30s",
        ),
        ("{{ parseDuration \"1h30m\" }} {{ args 1 2 }}", "5400 map[arg0:1 arg1:2]"),
        ("{{ $value | printf \"%.1f\" | printf \"%q\" }}", "\"3.0\""),
        ("{{ match \"j\" $labels.job }} {{ reReplaceAll \"(.)b\" \"${1}x\" \"abcb\" }}", "true axcx"),
    ]);
}

#[test]
fn errors_become_the_text() {
    let failed = |column: usize, at: &str, what: &str| {
        format!(
            "<error expanding template: error executing template __alert_A: template: __alert_A:1:{column}: executing \
             \"__alert_A\" at <{at}>: {what}>"
        )
    };
    let none = "error calling first: first() called on vector with no elements";
    for (text, expected) in [
        ("{{ query \"none\" | first }}", failed(130, "first", none)),
        ("{{ query \"bad\" }}", failed(115, "query \"bad\"", "error calling query: no such query: bad")),
        ("{{ gt $value 5 }}", failed(115, "gt $value 5", "error calling gt: incompatible types for comparison")),
        ("{{ $value.x }}", failed(121, "$value.x", "can't evaluate field x in type float64")),
        ("{{ humanize }}", failed(115, "humanize", "wrong number of args for humanize: want 1 got 0")),
        ("{{ template \"none\" }}", failed(124, "{{template \"none\"}}", "template \"none\" not defined")),
        ("{{ toUpper 5 }}", failed(123, "5", "expected string; found 5")),
        ("{{ range $value }}{{ end }}", failed(121, "$value", "range can't iterate over 3")),
        ("{{ nil }}", failed(115, "nil", "nil is not a command")),
    ] {
        assert_eq!(expand(text), expected, "{text}");
    }
}

#[test]
fn what_is_no_template_is_said_at_once() {
    check(&[
        ("{{ foo }}", "! template: __alert_A:1: function \"foo\" not defined"),
        ("a\n{{ $x }}", "! template: __alert_A:2: undefined variable \"$x\""),
        ("{{ if true }}", "! template: __alert_A:1: unexpected EOF"),
        ("{{ end }}", "! template: __alert_A:1: unexpected {{end}}"),
        ("{{ .a ", "! template: __alert_A:1: unclosed action"),
        ("{{ 5 | 6 }}", "! template: __alert_A:1: non executable command in pipeline stage 2"),
        ("{{ }}", "! template: __alert_A:1: missing value for command"),
        ("{{ (1 }}", "! template: __alert_A:1: unclosed left paren"),
        ("{{ $a, $b := 1 }}", "! template: __alert_A:1: too many declarations in command"),
        ("{{ break }}", "! template: __alert_A:1: {{break}} outside {{range}}"),
    ]);
}

#[test]
fn hostile_templates_end() {
    let line = "x".repeat(64);
    let writes = format!("{{{{ range 1000000 }}}}{line}{{{{ end }}}}");
    let many = format!("{{{{ $x := printf \"%20000d\" 1 }}}}{{{{ print{} }}}}", " $x".repeat(1000));
    for (text, what) in [
        ("{{ range 1000000000 }}{{ end }}", "more than 1000000 steps"),
        (writes.as_str(), "writes more than"),
        ("{{ define \"t\" }}{{ template \"t\" }}{{ end }}{{ template \"t\" }}", "exceeded maximum template depth"),
        ("{{ range 1000000 }}{{ $x := printf \"%1000000d\" 1 }}{{ end }}", "makes more than"),
        ("{{ range 1000 }}{{ $x := query \"two\" }}{{ end }}", "asks more than"),
        ("{{ $x := args 1 }}{{ range 100 }}{{ $x = args $x $x }}{{ end }}", "maps are inside of one another"),
        (
            "{{ $x := args 1 }}{{ range 12 }}{{ $x = args $x $x $x $x $x $x $x $x }}{{ end }}{{ $x }}",
            "writes more than 1048576 bytes",
        ),
        (
            "{{ $x := printf \"%500000d\" 1 }}{{ reReplaceAll \".\" $x $x }}",
            "error calling reReplaceAll: the function writes more than",
        ),
        ("{{ range 100000 }}{{ $x := match \"a\" \"b\" }}{{ end }}", "more than 1000000 steps"),
        ("{{ $x := printf \"%900000d\" 1 }}{{ range 100000 }}{{ if lt $x $x }}{{ end }}{{ end }}", "steps"),
        (many.as_str(), "the function writes more than"),
        ("{{ reReplaceAll \"(a{1000}){1000}\" \"\" \"\" }}", "error parsing regexp"),
    ] {
        assert!(expand(text).contains(what), "{text}: {}", expand(text).chars().take(300).collect::<String>());
    }
    assert!(expand(&"{{ if 1 }}".repeat(100_000)).contains("nested more than"));
    assert!(expand(&format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000))).contains("nested more than"));
    let chain = format!("{{{{ if 1 }}}}{}{{{{ end }}}}", "{{ else if 1 }}".repeat(10_000));
    assert!(expand(&chain).contains("nested more than"));
}

/// The stack of a thread of the runtime that evaluates rules and sends messages.
const STACK_BYTES: usize = 2 << 20;

#[test]
fn templates_that_call_templates_do_not_exhaust_the_stack() {
    let call = "{{ template \"t\" . }}";
    let calls_itself = |inside: &str| format!("{{{{ define \"t\" }}}}{inside}{{{{ end }}}}{call}");
    let nested = |begin: &str| calls_itself(&format!("{}{call}{}", begin.repeat(95), "{{ end }}".repeat(95)));
    let parentheses = format!("{{{{ print {}1{} }}}}", "(print ".repeat(90), ")".repeat(90));
    for text in [
        nested("{{ if 1 }}"),
        nested("{{ with 1 }}"),
        nested("{{ range 1 }}"),
        calls_itself(&format!("{parentheses}{{{{ if 1 }}}}{call}{{{{ end }}}}")),
        calls_itself(&format!("{parentheses}{{{{ range 1 }}}}{{{{ range 1 }}}}{call}{{{{ end }}}}{{{{ end }}}}")),
    ] {
        let shown: String = text.chars().take(80).collect();
        let expanding = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || expand(&text)).unwrap();
        let expanded = expanding.join().unwrap();
        assert!(expanded.contains("are nested more than 250 levels deep"), "{shown}: {expanded}");
    }
    let counts = "{{ if lt (len .) 90 }}{{ template \"t\" (print . \"x\") }}{{ else }}{{ . }}{{ end }}";
    assert_eq!(expand(&calls_itself(counts).replace(call, "{{ template \"t\" \"\" }}")), "x".repeat(90));
}

proptest! {
    #[test]
    fn any_text_expands_or_is_an_error(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "{{ ", " }}", "{{- ", " -}}", "if ", "range ", "with ", "{{ end }}", "{{ else }}", "$x := ", "$labels.x ",
                "(query \"two\") ", "| first ", "| value ", "printf \"%5.2f %v\" ", "index ", "slice \"é\" 1 ", "1 ", "-1.5 ",
                ". ", ".a.b", "( ", ") ", "define \"t\" ", "template \"t\" ", "humanizeDuration ", "toTime ", "/* ", "\"é",
                "break ", "len ", "$k, $v := ",
            ]),
            0..16,
        ),
    ) {
        expand(&parts.concat());
    }

    #[test]
    fn any_characters_expand_or_are_an_error(text in "[{}() .$a-c|:=\"'`0-9/*é-]{0,40}") {
        expand(&text);
        if let Ok(template) = Template::parse("t", &text, &Functions::PROMETHEUS) {
            let _ = template.expand(&Value::Missing, &World);
        }
    }
}
