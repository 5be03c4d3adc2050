//! `bwctl group`: shard groups that do not go on by themselves.

use bellwether_client::v1::RecoverGroupResponse;
use serde_json::json;

use crate::Context;
use crate::arguments::GroupCommand;
use crate::ask::confirm;
use crate::failure::Failure;
use crate::node::copied;
use crate::times::print_time;

pub async fn run(context: &Context, command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::Recover { group, is_unsafe, node } => recover(context, group, is_unsafe, node).await,
    }
}

async fn recover(context: &Context, group: u32, is_unsafe: bool, node: Option<u64>) -> Result<(), Failure> {
    let cluster = context.client.cluster();
    let found = cluster.recover_group(group, node, true).await?;
    eprintln!("{}", warning(group, &found));
    if !is_unsafe {
        return Err(Failure::Refused("nothing was done: say --unsafe if that is wanted".to_owned()));
    }
    confirm(context.yes, &format!("Shard group {group} begins anew with what node {} has of it", found.node))?;
    let done = cluster.recover_group(group, Some(found.node), false).await?;
    let text = format!("shard group {group} begins anew on node {}", done.node);
    let json =
        json!({"group": group, "node": done.node, "replica": done.replica, "last": done.last, "child": done.child});
    context.output.print_line(&text, &json)?;
    if let Some(child) = done.child {
        eprintln!(
            "shard group {child} was just split off and has lost the same nodes: bwctl group recover {child} --unsafe"
        );
    }
    copied(context).await
}

/// What an operator must know before it is done.
fn warning(group: u32, found: &RecoverGroupResponse) -> String {
    let RecoverGroupResponse { node, applied, last, time_ms, .. } = found;
    let until = time_ms.map_or_else(|| "nothing".to_owned(), print_time);
    let uncertain = last.saturating_sub(*applied);
    format!(
        "Shard group {group} has lost its majority. Node {node} has its log up to entry {last}; the last that is known to be \
         acknowledged is entry {applied}, of {until}, and {uncertain} behind it may or may not be.\n\
         What was acknowledged after that and is only on the lost nodes is LOST. Do not start those nodes again with \
         their data: remove them with bwctl node remove --force."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_names_what_may_be_lost() {
        let found = RecoverGroupResponse {
            node: 3,
            applied: 10,
            last: 12,
            time_ms: Some(0),
            ..RecoverGroupResponse::default()
        };
        let text = warning(7, &found);
        assert!(text.contains("Node 3 has its log up to entry 12"), "{text}");
        assert!(text.contains("entry 10, of 1970-01-01T00:00:00.000Z, and 2 behind it"), "{text}");
    }
}
