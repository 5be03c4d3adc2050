//! `bwctl config` and `bwctl token`: the settings of the whole cluster, and tokens.

use bellwether_client::v1::{Setting, TokenKind};
use serde_json::json;

use crate::Context;
use crate::arguments::{ConfigCommand, TokenCommand, TokenPurpose};
use crate::failure::Failure;
use crate::json;
use crate::table::{Column, Table};
use crate::times::print_time;

pub async fn run(context: &Context, command: ConfigCommand) -> Result<(), Failure> {
    let cluster = context.client.cluster();
    match command {
        ConfigCommand::Get { names } => {
            let settings = cluster.settings(&names).await?;
            context.output.print(|| table(&settings), || settings.iter().map(json::setting).collect())?;
        }
        ConfigCommand::Set { name, value, default: _ } => {
            let setting = cluster.set_setting(&name, value.as_deref()).await?;
            context.output.print_line(&format!("{} = {}", setting.name, setting.value), &json::setting(&setting))?;
        }
    }
    Ok(())
}

fn table(settings: &[Setting]) -> Table {
    let columns = [Column::Left("NAME"), Column::Left("VALUE"), Column::Left("DEFAULT"), Column::Left("WHAT FOR")];
    let mut table = Table::new(columns);
    for setting in settings {
        let default = if setting.chosen { &setting.default_value } else { "" };
        table.row([setting.name.clone(), setting.value.clone(), default.to_owned(), setting.help.clone()]);
    }
    table
}

pub async fn token(context: &Context, command: TokenCommand) -> Result<(), Failure> {
    let TokenCommand::Create { kind, valid } = command;
    let kind = match kind {
        TokenPurpose::Join => TokenKind::Join,
        TokenPurpose::Admin => TokenKind::Admin,
    };
    let made = context.client.cluster().create_token(kind, Some(valid)).await?;
    // Alone on its line, so that a script can take it as it is.
    context.output.print_line(&made.token, &json!({"token": made.token, "expires_ms": made.expires_ms}))?;
    if !context.output.json {
        eprintln!("works once, until {}", print_time(made.expires_ms));
    }
    Ok(())
}
