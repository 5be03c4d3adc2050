//! `bwctl alerts history`

use bellwether_client::v1::{ListTransitionsRequest, ListTransitionsResponse, Transition};
use serde_json::{Value, json};

use super::{NAME, client_of, pairs};
use crate::Context;
use crate::arguments::HistoryArguments;
use crate::failure::Failure;
use crate::table::{Column, Table};
use crate::times::{now_ms, print_time};

pub async fn run(context: &Context, arguments: HistoryArguments) -> Result<(), Failure> {
    let HistoryArguments { matchers, begin, end, limit, of } = arguments;
    let now = now_ms();
    let [first_ms, last_ms] = [begin, end].map(|time| time.map_or(0, |time| time.resolve(now)));
    let request = ListTransitionsRequest { filter: matchers, first_ms, last_ms, limit };
    let ListTransitionsResponse { mut transitions, truncated } =
        client_of(context, &of)?.alerting().transitions(request).await?;
    // As logs have it, and the end is what stays on the screen.
    transitions.reverse();
    if truncated && !context.output.json {
        eprintln!("There are older ones: --limit shows more, --end those before a time.");
    }
    let shown = || json!({ "transitions": transitions.iter().map(shown).collect::<Value>(), "truncated": truncated });
    Ok(context.output.print(|| table(&transitions), shown)?)
}

fn table(transitions: &[Transition]) -> Table {
    let mut table = Table::new(["AT", "ALERT", "STATE", "VALUE", "LABELS"].map(Column::Left));
    for transition in transitions {
        let name = transition.labels.iter().find(|label| label.name == NAME).map_or("", |label| &label.value);
        let others = transition.labels.iter().filter(|label| label.name != NAME);
        let others: Vec<String> = others.map(|label| format!("{}={:?}", label.name, label.value)).collect();
        table.row([
            print_time(transition.at_ms),
            name.to_owned(),
            transition.state.clone(),
            transition.value.to_string(),
            others.join(" "),
        ]);
    }
    table
}

fn shown(transition: &Transition) -> Value {
    json!({
        "at_ms": transition.at_ms,
        "labels": pairs(&transition.labels),
        "state": transition.state,
        "value": transition.value,
    })
}
