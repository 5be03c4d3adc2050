//! `bwctl rules replay`: when alerts would have fired, over what the cluster has stored.

use std::collections::BTreeSet;

use bellwether_alert::replay::{Answered, Episode, Question, Replay, RuleReport, Span};
use bellwether_alert::rules::{Rule, RuleGroup};
use bellwether_client::{Answer, Client, ResultSeries, Value as Shape};
use serde_json::{Map, Value, json};

use super::client_of;
use crate::Context;
use crate::arguments::ReplayArguments;
use crate::excerpt::of_expression;
use crate::failure::Failure;
use crate::rules::read_rules;
use crate::table::{Column, Table};
use crate::times::{now_ms, print_time};

/// Times of one question. What is asked of a long replay is asked part by part, so that no answer is large.
const TIMES_PER_QUESTION: i64 = 500;
/// How often groups are evaluated that do not say it: a node's own default.
const DEFAULT_INTERVAL_MS: i64 = 15_000;

/// Runs the command; it ends with 1 if a rule could not be evaluated.
pub async fn run(context: &Context, arguments: &ReplayArguments) -> Result<(), Failure> {
    let file = read_rules(&arguments.file).map_err(refused)?;
    let now = now_ms();
    let (from, to) = (arguments.from.resolve(now), arguments.to.resolve(now));
    if from > to {
        return Err(Failure::Usage("--from is after --to".to_owned()));
    }
    let step_ms = arguments.step.map(|step| i64::try_from(step.as_millis()).unwrap_or(i64::MAX));
    let span = Span { from, to, step_ms, default_interval_ms: DEFAULT_INTERVAL_MS };
    let path = arguments.file.display();
    let placed = |problems: Vec<_>| problems.into_iter().map(|problem| format!("{path}:{problem}")).collect();
    let mut replay = Replay::new(&file, span).map_err(|problems| refused(placed(problems)))?;
    let wrong = |error: bellwether_alert::replay::ReplayError| Failure::Refused(error.to_string());
    if replay.check().map_err(wrong)? == 0 {
        return Err(Failure::Refused(
            "no group is evaluated between --from and --to: take more time, or a shorter --step".to_owned(),
        ));
    }
    let client = client_of(context, &arguments.of)?;
    let mut warnings = BTreeSet::new();
    let stretch_ms = replay.stretch_ms(TIMES_PER_QUESTION);
    let mut begin = from;
    while begin <= to {
        let end = begin.saturating_add(stretch_ms - 1).min(to);
        for question in replay.questions(begin, end) {
            let answer = ask(&client, &question).await?;
            warnings.extend(answer.warnings.iter().cloned());
            replay.answer(question.number, answered(answer)?).map_err(wrong)?;
        }
        replay.run(begin, end).map_err(wrong)?;
        begin = end.saturating_add(1);
    }
    warnings.iter().for_each(|warning| eprintln!("bwctl: {warning}"));
    match context.output.json {
        true => context.output.print_json(&to_json(&replay, span))?,
        false => context.output.print_text(&to_text(&replay, span))?,
    }
    let has_failed = replay.reports().any(|(_, _, reports)| reports.iter().any(|report| report.failures > 0));
    if has_failed { Err(Failure::Found) } else { Ok(()) }
}

fn refused(problems: Vec<String>) -> Failure {
    Failure::Refused(problems.join("\n       "))
}

async fn ask(client: &Client, question: &Question) -> Result<Answer, Failure> {
    let Question { query, start, end, step_ms, .. } = question;
    client.range(query, *start, *end, *step_ms).await.map_err(|error| of_expression(query, error))
}

fn answered(answer: Answer) -> Result<Vec<Answered>, Failure> {
    let Shape::Matrix(series) = answer.value else {
        return Err(Failure::Refused("the node answers a range query with no series".to_owned()));
    };
    let of = |series: ResultSeries| {
        let labels = series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
        let values = series.samples.iter().map(|sample| (sample.timestamp_ms, sample.value)).collect();
        let histograms = series.histograms.iter().map(|sample| sample.timestamp_ms).collect();
        let answered = Answered::new(labels, values, histograms);
        answered.ok_or_else(|| Failure::Refused("the node answers with labels that no series can have".to_owned()))
    };
    series.into_iter().map(of).collect()
}

/// What came of a rule, in numbers.
struct Summary {
    /// How often an alert of it fired.
    fired: usize,
    /// Alerts that fired, by their labels.
    alerts: usize,
    /// For how long they fired, added up.
    firing_ms: i64,
}

impl Summary {
    fn of(report: &RuleReport, span: Span) -> Summary {
        let fired = || report.episodes.iter().filter_map(|episode| Some((episode, episode.firing?)));
        let alerts: BTreeSet<_> = fired().map(|(episode, _)| &episode.labels).collect();
        let firing_ms = fired().map(|(episode, since)| episode.end.unwrap_or(span.to).saturating_sub(since)).sum();
        Summary { fired: fired().count(), alerts: alerts.len(), firing_ms }
    }
}

fn kind(rule: &Rule) -> &'static str {
    match rule {
        Rule::Recording(_) => "record",
        Rule::Alerting(_) => "alert",
    }
}

fn to_text(replay: &Replay, span: Span) -> String {
    let columns = [
        Column::Left("GROUP"),
        Column::Left("RULE"),
        Column::Left("KIND"),
        Column::Right("EVALUATED"),
        Column::Right("FAILED"),
        Column::Right("FIRED"),
        Column::Right("ALERTS"),
        Column::Right("FIRING FOR"),
        Column::Left("ERROR"),
    ];
    let mut rules = Table::new(columns);
    let columns = ["ALERT", "PENDING SINCE", "FIRING SINCE", "TOLD FROM", "OVER", "LABELS"].map(Column::Left);
    let (mut episodes, mut count) = (Table::new(columns), 0);
    for (group, _, reports) in replay.reports() {
        for (rule, report) in group.rules.iter().zip(reports) {
            let Summary { fired, alerts, firing_ms } = Summary::of(report, span);
            let alerting = |text: String| if kind(rule) == "alert" { text } else { String::new() };
            let failed = report.first_error.as_ref().map(|(at, error)| format!("{}: {error}", print_time(*at)));
            rules.row([
                group.name.clone(),
                rule.name().to_owned(),
                kind(rule).to_owned(),
                report.evaluations.to_string(),
                report.failures.to_string(),
                alerting(fired.to_string()),
                alerting(alerts.to_string()),
                alerting(format!("{}s", firing_ms as f64 / 1e3)),
                failed.or_else(|| report.template_error.clone()).unwrap_or_default(),
            ]);
            for Episode { labels, pending, firing, told, end } in &report.episodes {
                count += 1;
                let or_dash = |time: &Option<i64>| time.map_or("-".to_owned(), print_time);
                let others = labels.iter().filter(|label| label.name != "alertname");
                let others: Vec<String> = others.map(|label| format!("{}={:?}", label.name, label.value)).collect();
                episodes.row([
                    rule.name().to_owned(),
                    print_time(*pending),
                    or_dash(firing),
                    or_dash(told),
                    or_dash(end),
                    others.join(" "),
                ]);
            }
        }
    }
    match count {
        0 => format!("{rules}\nno alert would have been pending or firing\n"),
        _ => format!("{rules}\n{episodes}"),
    }
}

fn to_json(replay: &Replay, span: Span) -> Value {
    let episode = |Episode { labels, pending, firing, told, end }: &Episode| {
        let pairs = labels.iter().map(|label| (label.name.to_owned(), Value::from(label.value)));
        let labels = Value::Object(pairs.collect::<Map<_, _>>());
        json!({ "labels": labels, "pending_ms": pending, "firing_ms": firing, "told_ms": told, "over_ms": end })
    };
    let rule = |(rule, report): (&Rule, &RuleReport)| {
        let mut shown = json!({
            "name": rule.name(),
            "kind": kind(rule),
            "evaluations": report.evaluations,
            "failures": report.failures,
            "first_error": report.first_error.as_ref().map(|(at, error)| json!({ "at_ms": at, "error": error })),
            "template_error": report.template_error,
        });
        if let Rule::Alerting(_) = rule {
            let Summary { fired, alerts, firing_ms } = Summary::of(report, span);
            shown["fired"] = fired.into();
            shown["alerts"] = alerts.into();
            shown["firing_for_ms"] = firing_ms.into();
            shown["episodes"] = report.episodes.iter().map(episode).collect();
        }
        shown
    };
    let group = |(group, step_ms, reports): (&RuleGroup, i64, &[RuleReport])| {
        let rules: Vec<Value> = group.rules.iter().zip(reports).map(rule).collect();
        json!({ "group": group.name, "step_ms": step_ms, "rules": rules })
    };
    json!({ "from_ms": span.from, "to_ms": span.to, "groups": replay.reports().map(group).collect::<Vec<_>>() })
}
