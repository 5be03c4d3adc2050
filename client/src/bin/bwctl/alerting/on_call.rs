//! `bwctl oncall`

use bellwether_client::v1::{OnCall, Override};
use serde_json::{Value, json};

use super::client_of;
use crate::Context;
use crate::arguments::{OncallCommand, OverrideArguments, SpanOptions};
use crate::failure::Failure;
use crate::table::{Column, Table};
use crate::times::{now_ms, print_time};

pub async fn run(context: &Context, command: OncallCommand) -> Result<(), Failure> {
    match command {
        OncallCommand::Show { at, of } => {
            let at_ms = at.map_or(0, |at| at.resolve(now_ms()));
            let schedules = client_of(context, &of)?.alerting().on_call(at_ms).await?;
            Ok(context.output.print(|| table(&schedules), || schedules.iter().map(schedule_json).collect())?)
        }
        OncallCommand::Override(arguments) => add(context, arguments).await,
        OncallCommand::Delete { ids, of } => {
            let client = client_of(context, &of)?;
            for id in ids {
                client.alerting().delete_override(&id).await?;
                context.output.print_line(&format!("{id} is deleted"), &json!({"deleted": id}))?;
            }
            Ok(())
        }
    }
}

async fn add(context: &Context, arguments: OverrideArguments) -> Result<(), Failure> {
    let OverrideArguments { schedule, user, duration, span, of } = arguments;
    let SpanOptions { begin, end, author } = span;
    let now = now_ms();
    let begins_ms = begin.map_or(now, |begin| begin.resolve(now));
    let lasts_ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let ends_ms = end.map_or(begins_ms.saturating_add(lasts_ms), |end| end.resolve(now));
    let wanted = Override {
        schedule,
        user,
        // The cluster's clock says what is now.
        begins_ms: if begin.is_some() { begins_ms } else { 0 },
        ends_ms,
        created_by: author,
        ..Override::default()
    };
    let id = client_of(context, &of)?.alerting().set_override(wanted).await?;
    Ok(context.output.print_line(&id, &json!({"id": id, "ends_ms": ends_ms}))?)
}

fn table(schedules: &[OnCall]) -> Table {
    let mut table = Table::new(["SCHEDULE", "ON CALL", "OVERRIDE", "WHO", "BEGINS", "ENDS", "BY"].map(Column::Left));
    for schedule in schedules {
        let user = if schedule.user.is_empty() { "nobody" } else { &schedule.user };
        let mut names = [schedule.schedule.clone(), user.to_owned()];
        for one in &schedule.overrides {
            let [name, user] = std::mem::take(&mut names);
            let (begins, ends) = (print_time(one.begins_ms), print_time(one.ends_ms));
            table.row([name, user, one.id.clone(), one.user.clone(), begins, ends, one.created_by.clone()]);
        }
        if schedule.overrides.is_empty() {
            let [name, user] = names;
            let none = String::new;
            table.row([name, user, none(), none(), none(), none(), none()]);
        }
    }
    table
}

fn schedule_json(schedule: &OnCall) -> Value {
    let one = |one: &Override| {
        json!({
            "id": one.id,
            "user": one.user,
            "begins_ms": one.begins_ms,
            "ends_ms": one.ends_ms,
            "created_by": one.created_by,
        })
    };
    json!({
        "schedule": schedule.schedule,
        "user": schedule.user,
        "overrides": schedule.overrides.iter().map(one).collect::<Value>(),
    })
}
