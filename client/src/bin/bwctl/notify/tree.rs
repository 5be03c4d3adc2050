//! The tree of routes, drawn.

use bellwether_alert::notify::Config;
use bellwether_alert::notify::route::{RouteAt, Routes};
use serde_json::{Value, json};

use crate::table::{Column, Table};

const UNITS_MS: [(i64, &str); 6] = [
    (7 * 24 * 3600 * 1000, "w"),
    (24 * 3600 * 1000, "d"),
    (3600 * 1000, "h"),
    (60 * 1000, "m"),
    (1000, "s"),
    (1, "ms"),
];

/// One line for each route; those in `taken` are marked.
pub fn table(config: &Config, taken: &[RouteAt]) -> Table {
    let mut table = Table::new([
        Column::Left("ROUTE"),
        Column::Left("RECEIVER"),
        Column::Left("GROUPED BY"),
        Column::Right("WAIT"),
        Column::Right("INTERVAL"),
        Column::Right("REPEAT"),
        Column::Left("NOTES"),
    ]);
    draw(config, taken, Routes::ROOT, ("", ""), &mut table);
    table
}

/// Adds a route and those below it: `before` stands before its line, and before those below it.
fn draw(config: &Config, taken: &[RouteAt], at: RouteAt, before: (&str, &str), table: &mut Table) {
    let route = config.routes.get(at);
    let matchers = if at == Routes::ROOT { "(all alerts)".to_owned() } else { route.matchers.to_string() };
    let mut notes = Vec::new();
    if taken.contains(&at) {
        notes.push("the alert ends here".to_owned());
    }
    if route.continues {
        notes.push("continues".to_owned());
    }
    if !route.mute.is_empty() {
        notes.push(format!("muted within {}", route.mute.join(", ")));
    }
    if !route.active.is_empty() {
        notes.push(format!("muted outside {}", route.active.join(", ")));
    }
    table.row([
        format!("{}{matchers}", before.0),
        route.receiver.clone(),
        route.group_by.to_string(),
        duration(route.group_wait_ms),
        duration(route.group_interval_ms),
        duration(route.repeat_interval_ms),
        notes.join("; "),
    ]);
    for (index, child) in route.children.iter().enumerate() {
        let is_last = index + 1 == route.children.len();
        let line = format!("{}{}", before.1, if is_last { "└── " } else { "├── " });
        let below = format!("{}{}", before.1, if is_last { "    " } else { "│   " });
        draw(config, taken, *child, (&line, &below), table);
    }
}

/// The same for programs: a list, in which each says which one is above it.
pub fn json(config: &Config, taken: &[RouteAt]) -> Value {
    let routes = config.routes.iter().map(|(at, route)| {
        json!({
            "route": at,
            "above": route.parent,
            "matchers": route.matchers.to_string(),
            "receiver": route.receiver,
            "groupBy": route.group_by.to_string(),
            "groupWaitMs": route.group_wait_ms,
            "groupIntervalMs": route.group_interval_ms,
            "repeatIntervalMs": route.repeat_interval_ms,
            "continue": route.continues,
            "muteTimeIntervals": route.mute,
            "activeTimeIntervals": route.active,
            "taken": taken.contains(&at),
        })
    });
    Value::Array(routes.collect())
}

/// `1h30m`
pub fn duration(ms: i64) -> String {
    let mut rest = ms;
    let mut text = String::new();
    for (unit_ms, unit) in UNITS_MS {
        if rest >= unit_ms {
            text.push_str(&format!("{}{unit}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}
