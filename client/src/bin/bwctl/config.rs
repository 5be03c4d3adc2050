//! `bwctl config` and `bwctl token`: the settings of the whole cluster, and tokens.

use bellwether_client::v1::{Setting, TokenInfo, TokenKind};
use serde_json::json;

use crate::Context;
use crate::arguments::{ConfigCommand, TokenCommand, TokenPurpose};
use crate::failure::Failure;
use crate::json;
use crate::names::{token_kind, token_state};
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
    let cluster = context.client.cluster();
    match command {
        TokenCommand::Create { kind, valid, uses } => {
            let kind = match kind {
                TokenPurpose::Join => TokenKind::Join,
                TokenPurpose::Admin => TokenKind::Admin,
            };
            let made = cluster.create_token(kind, Some(valid), uses).await?;
            // Alone on its line, so that a script can take it as it is.
            context.output.print_line(&made.token, &json!({"token": made.token, "expires_ms": made.expires_ms}))?;
            if !context.output.json {
                let how = match (kind, uses) {
                    (TokenKind::Admin, _) => "works".to_owned(),
                    (_, 0 | 1) => "works once,".to_owned(),
                    (_, uses) => format!("works {uses} times,"),
                };
                eprintln!("{how} until {}", print_time(made.expires_ms));
            }
        }
        TokenCommand::List => {
            let tokens = cluster.tokens().await?;
            context.output.print(|| token_table(&tokens), || tokens.iter().map(json::token).collect())?;
        }
        TokenCommand::Revoke { id } => {
            cluster.revoke_token(&id).await?;
            let id = id.split('.').next().unwrap_or(&id);
            context.output.print_line(&format!("token {id} is revoked"), &json!({"id": id, "state": "revoked"}))?;
        }
    }
    Ok(())
}

fn token_table(tokens: &[TokenInfo]) -> Table {
    let columns = ["ID", "KIND", "STATE", "USED", "EXPIRES"].map(Column::Left);
    let mut table = Table::new(columns);
    for token in tokens {
        let used = match token.kind() {
            TokenKind::Admin => String::new(),
            _ => format!("{} of {}", token.used, token.uses),
        };
        let (kind, state) = (token_kind(token.kind()), token_state(token.state()));
        table.row([token.id.clone(), kind.to_owned(), state.to_owned(), used, print_time(token.expires_ms)]);
    }
    table
}
