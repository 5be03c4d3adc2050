//! `bwctl silence`

use bellwether_client::v1::Silence;
use serde_json::{Value, json};

use super::client_of;
use crate::Context;
use crate::arguments::{SilenceArguments, SilenceCommand, SpanOptions};
use crate::failure::Failure;
use crate::table::{Column, Table};
use crate::times::{now_ms, print_time};

pub async fn run(context: &Context, command: SilenceCommand) -> Result<(), Failure> {
    match command {
        SilenceCommand::Add(arguments) => add(context, arguments).await,
        SilenceCommand::List { expired, of } => {
            let silences = client_of(context, &of)?.alerting().silences(expired).await?;
            Ok(context.output.print(|| table(&silences), || silences.iter().map(silence_json).collect())?)
        }
        SilenceCommand::Expire { ids, of } => {
            let client = client_of(context, &of)?;
            for id in ids {
                client.alerting().expire_silence(&id).await?;
                context.output.print_line(&format!("{id} is expired"), &json!({"id": id, "state": "expired"}))?;
            }
            Ok(())
        }
    }
}

async fn add(context: &Context, arguments: SilenceArguments) -> Result<(), Failure> {
    let SilenceArguments { matchers, while_firing, duration, span, comment, id, of } = arguments;
    let SpanOptions { begin, end, author } = span;
    let now = now_ms();
    let begins_ms = begin.map_or(now, |begin| begin.resolve(now));
    let lasts_ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let ends_ms = end.map_or(begins_ms.saturating_add(lasts_ms), |end| end.resolve(now));
    let silence = Silence {
        id: id.unwrap_or_default(),
        matchers: matchers.join(","),
        // The cluster's clock says what is now.
        begins_ms: if begin.is_some() { begins_ms } else { 0 },
        ends_ms,
        while_firing: while_firing.join(","),
        created_by: author,
        comment,
        ..Silence::default()
    };
    let id = client_of(context, &of)?.alerting().set_silence(silence).await?;
    // Alone on its line, so that a script can take it as it is.
    Ok(context.output.print_line(&id, &json!({"id": id, "ends_ms": ends_ms}))?)
}

fn table(silences: &[Silence]) -> Table {
    let mut table = Table::new(["ID", "STATE", "MATCHERS", "BEGINS", "ENDS", "BY", "COMMENT"].map(Column::Left));
    for silence in silences {
        table.row([
            silence.id.clone(),
            silence.state.clone(),
            match silence.while_firing.as_str() {
                "" => silence.matchers.clone(),
                during => format!("{} while {during}", silence.matchers),
            },
            print_time(silence.begins_ms),
            print_time(silence.ends_ms),
            silence.created_by.clone(),
            silence.comment.clone(),
        ]);
    }
    table
}

fn silence_json(silence: &Silence) -> Value {
    json!({
        "id": silence.id,
        "state": silence.state,
        "matchers": silence.matchers,
        "while": silence.while_firing,
        "begins_ms": silence.begins_ms,
        "ends_ms": silence.ends_ms,
        "created_by": silence.created_by,
        "comment": silence.comment,
        "updated_ms": silence.updated_ms,
    })
}
