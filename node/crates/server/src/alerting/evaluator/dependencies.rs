//! Which rules of a group read what rules before them record: before those are asked, it has to be stored.

use bellwether_alert::rules::{AlertingRule, Rule, RuleGroup};
use bellwether_model::METRIC_NAME;
use bellwether_promql::ast::{Expr, VectorSelector};

/// For each rule, whether what the rules before it have recorded since the last storing must be stored first.
pub fn store_before(group: &RuleGroup) -> Vec<bool> {
    let mut waiting: Vec<&str> = Vec::new();
    let mut needs = |rule| {
        let needs = waiting.iter().any(|recorded| may_read(rule, recorded));
        if needs {
            waiting.clear();
        }
        if let Rule::Recording(rule) = rule
            && !waiting.contains(&&*rule.record)
        {
            waiting.push(&rule.record);
        }
        needs
    };
    group.rules.iter().map(&mut needs).collect()
}

fn may_read(rule: &Rule, metric: &str) -> bool {
    let asks_in_templates = match rule {
        Rule::Recording(_) => false,
        Rule::Alerting(rule) => asks_in_templates(rule),
    };
    asks_in_templates || reads(&rule.query().expr, metric)
}

/// What a template asks shows only when it is expanded.
fn asks_in_templates(rule: &AlertingRule) -> bool {
    rule.labels.iter().chain(&rule.annotations).any(|expansion| {
        let (_, actions) = expansion.text.split_once("{{").unwrap_or_default();
        actions.contains("query")
    })
}

/// Whether any selector can mean series of this metric.
fn reads(expr: &Expr, metric: &str) -> bool {
    match expr {
        Expr::Number(_) | Expr::String(_) => false,
        Expr::Selector(selector) => selects(selector, metric),
        Expr::Range(range) => selects(&range.selector, metric),
        Expr::Subquery(subquery) => reads(&subquery.expr, metric),
        Expr::Call(call) => call.args.iter().any(|arg| reads(arg, metric)),
        Expr::Aggregate(aggregate) => {
            reads(&aggregate.expr, metric) || aggregate.param.as_ref().is_some_and(|param| reads(param, metric))
        }
        Expr::Binary(binary) => reads(&binary.lhs, metric) || reads(&binary.rhs, metric),
        Expr::Unary(unary) => reads(&unary.expr, metric),
        Expr::Paren(paren) => reads(&paren.expr, metric),
    }
}

fn selects(selector: &VectorSelector, metric: &str) -> bool {
    let mut of_name = selector.matchers.iter().filter(|matcher| matcher.name() == METRIC_NAME);
    of_name.all(|matcher| matcher.matches(metric))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(rules: &[&str]) -> Vec<bool> {
        let text = format!("groups:\n- name: g\n  rules:\n{}", rules.concat());
        let file = bellwether_alert::rules::read(&text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
        store_before(&file.groups[0])
    }

    fn record(name: &str, expr: &str) -> String {
        format!("  - record: {name}\n    expr: {expr}\n")
    }

    fn alert(name: &str, expr: &str, summary: &str) -> String {
        format!("  - alert: {name}\n    expr: {expr}\n    annotations:\n      summary: '{summary}'\n")
    }

    #[test]
    fn rules_that_do_not_refer_to_each_other_are_stored_together() {
        assert_eq!(
            needs(&[&record("a", "up"), &record("b", "sum(rate(c[5m]))"), &alert("A", "up == 0", "")]),
            [false; 3]
        );
    }

    #[test]
    fn a_rule_that_reads_what_one_before_it_records_sees_it() {
        let chain =
            [record("a", "up"), record("b", "x + on () sum(a)"), record("c", "a"), record("d", "rate(b[5m:1m])")];
        assert_eq!(needs(&chain.each_ref().map(|rule| &**rule)), [false, true, false, true]);
    }

    #[test]
    fn what_is_recorded_later_does_not_count() {
        assert_eq!(needs(&[&alert("A", "a > 1", ""), &record("a", "up"), &record("a", "down")]), [false; 3]);
    }

    #[test]
    fn selectors_without_a_plain_name_read_whatever_their_matchers_let_through() {
        let of = |expr| needs(&[&record("a:b", "up"), &record("z", expr)])[1];
        assert!(of("'{job=\"x\"}'"));
        assert!(of("'{__name__=~\"a:.*\"}'"));
        assert!(!of("'{__name__=~\"b:.*\"}'"));
        assert!(!of("'{__name__!=\"a:b\", job=\"x\"}'"));
        assert!(of("'sum by (x) (topk(scalar(a:b), up))'"));
        assert!(of("'up unless -(a:b)'"));
    }

    #[test]
    fn templates_that_ask_see_everything() {
        let of = |summary| needs(&[&record("a", "up"), &alert("A", "up", summary)])[1];
        assert!(of("{{ query \"a\" | first | value }}"));
        assert!(!of("the query {{ $value }}"));
        assert!(!of("see {{ $labels.job }}"));
    }
}
