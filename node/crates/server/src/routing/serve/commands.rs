//! Control commands of other nodes.

use bellwether_ingest::{Command, Entry};
use bellwether_proto::peer::v1::failure::Reason;
use bellwether_proto::peer::v1::{CommandAnswer, CommandRequest, Failure, Rejected};

use crate::routing::Router;

impl Router {
    /// Replicates a control command in a group that is led here.
    pub async fn serve_command(&self, request: &CommandRequest) -> Result<CommandAnswer, Failure> {
        let rejected = |message: String| Failure { message, reason: Some(Reason::Rejected(Rejected {})) };
        let local = self.led_here(request.group)?;
        let mut buffer = Vec::new();
        let entry = Entry::read(&request.command, &mut buffer).map_err(|error| rejected(error.to_string()))?;
        let Command::Control(command) = entry.command else {
            return Err(rejected("samples are no control command".to_owned()));
        };
        let done = local.command(&command, &*self.stamping.clock).await;
        let count = done.map_err(|error| self.failure(local.id(), &error.into()))?;
        Ok(CommandAnswer { count })
    }
}
