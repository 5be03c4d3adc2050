//! `bwctl notify route`: where an alert goes, in which group, and whether anybody is told.

use bellwether_alert::notify::inhibition::Inhibitors;
use bellwether_alert::notify::matchers::parse_labels;
use bellwether_alert::notify::route::{Muted, PrintedLabels, RouteAt};
use bellwether_alert::notify::{Config, Labels};
use serde_json::{Value, json};

use super::{read, refused, tree};
use crate::arguments::RouteArguments;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};
use crate::times::now_ms;

/// Where an alert ends.
struct Taken {
    at: RouteAt,
    group: Labels,
    /// Why nobody is told, if nobody is.
    quiet: Option<String>,
}

/// Says it; tells whether the alert goes where it is expected.
pub fn route(output: Output, arguments: &RouteArguments) -> Result<bool, Failure> {
    let path = &arguments.file;
    let config = read(path).map_err(|problems| refused(path, &problems))?;
    let alert = parse_labels(&arguments.labels).map_err(Failure::Usage)?;
    if arguments.tree {
        let taken = if arguments.labels.is_empty() { Vec::new() } else { config.routes.take(&alert) };
        output.print(|| tree::table(&config, &taken), || tree::json(&config, &taken))?;
        return Ok(true);
    }
    let firing = arguments.firing.iter().map(|text| parse_labels(std::slice::from_ref(text)));
    let firing = firing.collect::<Result<Vec<_>, _>>().map_err(Failure::Usage)?;
    let now = now_ms();
    let now = arguments.at.map_or(now, |at| at.resolve(now));
    let inhibited = inhibited(&config, &firing, &alert);
    let taken: Vec<Taken> = config
        .routes
        .take(&alert)
        .into_iter()
        .map(|at| Taken {
            at,
            group: config.routes.group_labels(at, &alert),
            quiet: inhibited.clone().or_else(|| config.routes.muted(at, &config.intervals, now).map(muted)),
        })
        .collect();
    output.print(|| table(&config, &taken), || json_of(&config, &taken))?;
    let receivers: Vec<&str> = taken.iter().map(|taken| config.routes.get(taken.at).receiver.as_str()).collect();
    match &arguments.expect {
        Some(expected) if *expected != receivers.join(",") => {
            eprintln!("bwctl: expected {expected}, the alert goes to {}", receivers.join(","));
            Ok(false)
        }
        _ => Ok(true),
    }
}

fn inhibited(config: &Config, firing: &[Labels], alert: &Labels) -> Option<String> {
    let (at, by) = Inhibitors::new(&config.inhibitions, firing.iter()).muted_by(alert)?;
    let rule = match config.inhibitions[at].name.as_str() {
        "" => format!("inhibition rule {}", at + 1),
        name => format!("inhibition rule {name:?}"),
    };
    Some(format!("inhibited by {} ({rule})", PrintedLabels(by)))
}

fn muted(muted: Muted<'_>) -> String {
    match muted {
        Muted::Within(name) => format!("muted within {name:?}"),
        Muted::Outside(names) => {
            let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
            format!("muted outside {}", names.join(" and "))
        }
    }
}

fn table(config: &Config, taken: &[Taken]) -> Table {
    let mut table = Table::new([
        Column::Left("RECEIVER"),
        Column::Left("GROUP"),
        Column::Right("WAIT"),
        Column::Right("INTERVAL"),
        Column::Right("REPEAT"),
        Column::Left("TOLD"),
    ]);
    for Taken { at, group, quiet } in taken {
        let route = config.routes.get(*at);
        table.row([
            route.receiver.clone(),
            config.routes.group_key(*at, group),
            tree::duration(route.group_wait_ms),
            tree::duration(route.group_interval_ms),
            tree::duration(route.repeat_interval_ms),
            quiet.as_ref().map_or("yes".to_owned(), |why| format!("no: {why}")),
        ]);
    }
    table
}

fn json_of(config: &Config, taken: &[Taken]) -> Value {
    let one = |Taken { at, group, quiet }: &Taken| {
        let route = config.routes.get(*at);
        let labels: serde_json::Map<String, Value> =
            group.iter().map(|label| (label.name.to_owned(), label.value.into())).collect();
        json!({
            "receiver": route.receiver,
            "groupKey": config.routes.group_key(*at, group),
            "groupLabels": labels,
            "groupWaitMs": route.group_wait_ms,
            "groupIntervalMs": route.group_interval_ms,
            "repeatIntervalMs": route.repeat_interval_ms,
            "told": quiet.is_none(),
            "quietBecause": quiet,
        })
    };
    Value::Array(taken.iter().map(one).collect())
}
