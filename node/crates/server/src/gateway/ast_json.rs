//! A query's syntax tree as `/api/v1/parse_query` shows it, in Prometheus's shape.

use bellwether_model::Matcher;
use bellwether_promql::ValueType;
use bellwether_promql::ast::{At, Binary, Cardinality, Duration, Expr, Extension, TimeShift, VectorSelector};
use bellwether_promql::functions::Variadic;
use serde_json::{Value, json};

/// The tree of an expression.
pub fn tree(expr: &Expr) -> Value {
    match expr {
        Expr::Number(number) => json!({ "type": "numberLiteral", "val": number_text(number.value) }),
        Expr::String(text) => json!({ "type": "stringLiteral", "val": text.value }),
        Expr::Selector(selector) => with(selector_tree("vectorSelector", selector), json!({})),
        Expr::Range(range) => {
            with(selector_tree("matrixSelector", &range.selector), json!({ "range": fixed(&range.range) }))
        }
        Expr::Subquery(subquery) => with(
            shift_tree(&subquery.shift),
            json!({
                "type": "subquery",
                "expr": tree(&subquery.expr),
                "range": fixed(&subquery.range),
                "step": subquery.step.as_ref().map_or(0, fixed),
            }),
        ),
        Expr::Call(call) => json!({
            "type": "call",
            "func": {
                "name": call.function.name,
                "argTypes": call.function.args.iter().map(|arg| arg.api_name()).collect::<Vec<_>>(),
                "variadic": match call.function.variadic {
                    Variadic::No => 0,
                    Variadic::UpTo(more) => more as i64,
                    Variadic::Any => -1,
                },
                "returnType": call.function.returns.api_name(),
            },
            "args": call.args.iter().map(tree).collect::<Vec<_>>(),
        }),
        Expr::Aggregate(aggregate) => json!({
            "type": "aggregation",
            "op": aggregate.op.as_str(),
            "expr": tree(&aggregate.expr),
            "param": aggregate.param.as_deref().map(tree),
            "grouping": aggregate.grouping.labels,
            "without": aggregate.grouping.without,
        }),
        Expr::Binary(binary) => json!({
            "type": "binaryExpr",
            "op": binary.op.as_str(),
            "lhs": tree(&binary.lhs),
            "rhs": tree(&binary.rhs),
            "matching": matching_tree(binary),
            "bool": binary.return_bool,
        }),
        Expr::Unary(unary) => json!({
            "type": "unaryExpr",
            "op": if unary.negative { "-" } else { "+" },
            "expr": tree(&unary.expr),
        }),
        Expr::Paren(paren) => json!({ "type": "parenExpr", "expr": tree(&paren.expr) }),
    }
}

fn number_text(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

/// The first object with the fields of the second.
fn with(mut object: Value, more: Value) -> Value {
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

fn selector_tree(kind: &str, selector: &VectorSelector) -> Value {
    with(
        shift_tree(&selector.shift),
        json!({
            "type": kind,
            "name": selector.name.as_deref().unwrap_or_default(),
            "matchers": selector.matchers.iter().map(matcher_tree).collect::<Vec<_>>(),
            "anchored": selector.extension == Extension::Anchored,
            "smoothed": selector.extension == Extension::Smoothed,
        }),
    )
}

fn matcher_tree(matcher: &Matcher) -> Value {
    json!({ "name": matcher.name(), "value": matcher.value(), "type": matcher.op().as_str() })
}

/// Milliseconds of a literal; 0 for what is computed from the query's times.
fn fixed(duration: &Duration) -> i64 {
    duration.fixed_ms().unwrap_or_default()
}

fn shift_tree(shift: &TimeShift) -> Value {
    let (timestamp, start_or_end) = match shift.at {
        None => (None, None),
        Some(At::Time(timestamp)) => (Some(timestamp), None),
        Some(At::Start) => (None, Some("start")),
        Some(At::End) => (None, Some("end")),
    };
    json!({ "offset": fixed(&shift.offset), "timestamp": timestamp, "startOrEnd": start_or_end })
}

fn matching_tree(binary: &Binary) -> Value {
    let scalar = |expr: &Expr| expr.value_type() == ValueType::Scalar;
    if scalar(&binary.lhs) || scalar(&binary.rhs) {
        return Value::Null;
    }
    let matching = &binary.matching;
    let card = match matching.cardinality {
        _ if binary.op.is_set() => "many-to-many",
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
    };
    json!({
        "card": card,
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": { "lhs": matching.fill_left, "rhs": matching.fill_right },
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(query: &str, want: Expect) {
        want.assert_eq(&tree(&bellwether_promql::parse(query).unwrap()).to_string());
    }

    #[test]
    fn selectors_show_matchers_and_shifts() {
        check(
            r#"up{job=~"a|b"} offset 5m"#,
            expect![[
                r#"{"anchored":false,"matchers":[{"name":"job","type":"=~","value":"a|b"},{"name":"__name__","type":"=","value":"up"}],"name":"up","offset":300000,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"}"#
            ]],
        );
        check(
            "up[5m] @ 1.5",
            expect![[
                r#"{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"up"}],"name":"up","offset":0,"range":300000,"smoothed":false,"startOrEnd":null,"timestamp":1500,"type":"matrixSelector"}"#
            ]],
        );
        check(
            "up @ end()",
            expect![[
                r#"{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"up"}],"name":"up","offset":0,"smoothed":false,"startOrEnd":"end","timestamp":null,"type":"vectorSelector"}"#
            ]],
        );
    }

    #[test]
    fn operators_show_how_series_match() {
        check(
            "a / on (x) group_left (y) b",
            expect![[
                r#"{"bool":false,"lhs":{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"a"}],"name":"a","offset":0,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"matching":{"card":"many-to-one","fillValues":{"lhs":null,"rhs":null},"include":["y"],"labels":["x"],"on":true},"op":"/","rhs":{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"b"}],"name":"b","offset":0,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"type":"binaryExpr"}"#
            ]],
        );
        check(
            "a and ignoring (x) b",
            expect![[
                r#"{"bool":false,"lhs":{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"a"}],"name":"a","offset":0,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"matching":{"card":"many-to-many","fillValues":{"lhs":null,"rhs":null},"include":[],"labels":["x"],"on":false},"op":"and","rhs":{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"b"}],"name":"b","offset":0,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"type":"binaryExpr"}"#
            ]],
        );
        check(
            "-(1 + 2) > bool Inf",
            expect![[
                r#"{"bool":true,"lhs":{"expr":{"expr":{"bool":false,"lhs":{"type":"numberLiteral","val":"1"},"matching":null,"op":"+","rhs":{"type":"numberLiteral","val":"2"},"type":"binaryExpr"},"type":"parenExpr"},"op":"-","type":"unaryExpr"},"matching":null,"op":">","rhs":{"type":"numberLiteral","val":"+Inf"},"type":"binaryExpr"}"#
            ]],
        );
    }

    #[test]
    fn calls_and_aggregations_show_their_arguments() {
        check(
            "topk by (x) (3, max_over_time(up[5m:] offset 1s))",
            expect![[
                r#"{"expr":{"args":[{"expr":{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"up"}],"name":"up","offset":0,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"offset":1000,"range":300000,"startOrEnd":null,"step":0,"timestamp":null,"type":"subquery"}],"func":{"argTypes":["matrix"],"name":"max_over_time","returnType":"vector","variadic":0},"type":"call"},"grouping":["x"],"op":"topk","param":{"type":"numberLiteral","val":"3"},"type":"aggregation","without":false}"#
            ]],
        );
        check(
            "sum without () (max_over_time(rate(up[1m])[5m:10s]))",
            expect![[
                r#"{"expr":{"args":[{"expr":{"args":[{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"up"}],"name":"up","offset":0,"range":60000,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"matrixSelector"}],"func":{"argTypes":["matrix"],"name":"rate","returnType":"vector","variadic":0},"type":"call"},"offset":0,"range":300000,"startOrEnd":null,"step":10000,"timestamp":null,"type":"subquery"}],"func":{"argTypes":["matrix"],"name":"max_over_time","returnType":"vector","variadic":0},"type":"call"},"grouping":[],"op":"sum","param":null,"type":"aggregation","without":true}"#
            ]],
        );
        check(
            r#"label_join(up, "a", ",", "b", "c")"#,
            expect![[
                r#"{"args":[{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"up"}],"name":"up","offset":0,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},{"type":"stringLiteral","val":"a"},{"type":"stringLiteral","val":","},{"type":"stringLiteral","val":"b"},{"type":"stringLiteral","val":"c"}],"func":{"argTypes":["vector","string","string","string"],"name":"label_join","returnType":"vector","variadic":-1},"type":"call"}"#
            ]],
        );
        check(
            "round(vector(1))",
            expect![[
                r#"{"args":[{"args":[{"type":"numberLiteral","val":"1"}],"func":{"argTypes":["scalar"],"name":"vector","returnType":"vector","variadic":0},"type":"call"}],"func":{"argTypes":["vector","scalar"],"name":"round","returnType":"vector","variadic":1},"type":"call"}"#
            ]],
        );
    }
}
