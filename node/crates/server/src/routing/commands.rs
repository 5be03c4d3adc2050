//! Control commands on their way to the leader of their group.

use bellwether_ingest::ControlCommand;
use bellwether_model::ShardGroupId;
use bellwether_proto::peer::v1::CommandRequest;

use super::Router;
use super::leaders::Leader;
use super::pace::Pace;
use crate::shards::AdminError;

impl Router {
    /// Replicates a command that may be repeated, with the group's leader wherever it is; returns how many series or
    /// records it concerned.
    pub async fn command(&self, group: ShardGroupId, command: &ControlCommand) -> Result<u64, AdminError> {
        let mut pace = Pace::begin(&self.jitter);
        let mut attempt = 0;
        loop {
            let (asked, error) = match self.leader_of(group, attempt) {
                Leader::Here(local) => match local.command(command, &*self.stamping.clock).await {
                    Ok(count) => return Ok(count),
                    Err(error) => (self.shards.node(), error.into()),
                },
                Leader::There(node) => {
                    // The leader puts its own time in place of this one.
                    let request = CommandRequest { group: group.0, command: command.encode(0).into() };
                    match self.remote.command(node, request).await {
                        Ok(answer) => return Ok(answer.count),
                        Err(error) => (node, error.into()),
                    }
                }
                Leader::Nowhere(error) => (self.shards.node(), error),
            };
            if !self.try_again(group, &error, asked, &mut pace).await {
                return Err(AdminError { group, reason: error.to_string() });
            }
            attempt += 1;
        }
    }
}
