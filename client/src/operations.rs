//! What takes long: backups, what is done with them, and what the cluster moves. The messages are those of `operations.proto`.

use std::time::Duration;

use tonic::transport::Channel;

use crate::Error;
use crate::call::{Client, Repeat, ask};
use crate::told::Told;
use crate::v1::begin_request::What;
use crate::v1::operations_client::OperationsClient;
use crate::v1::{
    BackupInfo, BeginRequest, CancelRequest, CreateBackup, DeleteBackup, DrainNode, ListBackupsRequest,
    ListOperationsRequest, ListOperationsResponse, MoveShard, Operation, Rebalance, Restore, VerifyBackup,
    WatchRequest,
};

/// A node tells of an operation that is watched every few seconds, and bears with another one's silence for longer.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Operations of the cluster. From [`Client::operations`].
pub struct Operations<'a>(&'a Client);

/// An operation as it goes on: none follows its end.
pub type OperationStream = Told<Operation>;

impl Client {
    /// What takes long, for whoever administers the cluster.
    pub fn operations(&self) -> Operations<'_> {
        Operations(self)
    }
}

impl Operations<'_> {
    /// Begins a backup of everything acknowledged so far, to `file:///path` or `s3://bucket/prefix`.
    pub async fn create_backup(&self, url: &str) -> Result<Operation, Error> {
        self.begin(What::CreateBackup(CreateBackup { url: url.to_owned() })).await
    }

    /// Begins to compare every byte of a backup; the newest, if none is named.
    pub async fn verify_backup(&self, url: &str, id: Option<&str>) -> Result<Operation, Error> {
        let id = id.unwrap_or_default().to_owned();
        self.begin(What::VerifyBackup(VerifyBackup { url: url.to_owned(), id })).await
    }

    /// Begins to delete a backup.
    pub async fn delete_backup(&self, url: &str, id: &str) -> Result<Operation, Error> {
        self.begin(What::DeleteBackup(DeleteBackup { url: url.to_owned(), id: id.to_owned() })).await
    }

    /// Begins to write a backup into the cluster.
    pub async fn restore(&self, restore: Restore) -> Result<Operation, Error> {
        self.begin(What::Restore(restore)).await
    }

    /// Begins to empty a node: its replicas move to others. Of a node that drains already it follows that.
    pub async fn drain_node(&self, node: u64) -> Result<Operation, Error> {
        Ok(ask!(self, Always, begin, BeginRequest { what: Some(What::DrainNode(DrainNode { node })) })?.0)
    }

    /// Begins to give a replica of a shard group to the node `to` in place of the one on `from`; follows a move that is under
    /// way.
    pub async fn move_shard(&self, group: u32, from: u64, to: u64) -> Result<Operation, Error> {
        let what = What::MoveShard(MoveShard { group, from, to });
        Ok(ask!(self, Always, begin, BeginRequest { what: Some(what) })?.0)
    }

    /// Begins to follow the cluster until it has nothing left to move.
    pub async fn rebalance(&self) -> Result<Operation, Error> {
        Ok(ask!(self, Always, begin, BeginRequest { what: Some(What::Rebalance(Rebalance {})) })?.0)
    }

    async fn begin(&self, what: What) -> Result<Operation, Error> {
        Ok(ask!(self, IfUnsent, begin, BeginRequest { what: Some(what) })?.0)
    }

    /// The operations that the nodes remember, oldest first.
    pub async fn list(&self) -> Result<ListOperationsResponse, Error> {
        Ok(ask!(self, Always, list, ListOperationsRequest {})?.0)
    }

    /// An operation whenever it has come further, up to its end.
    pub async fn watch(&self, id: &str) -> Result<OperationStream, Error> {
        let (operations, address) = ask!(self, Always, watch, WatchRequest { id: id.to_owned() })?;
        Ok(Told::new(operations, address).within(SILENCE_MAX))
    }

    /// Ends an operation before it is done.
    pub async fn cancel(&self, id: &str) -> Result<Operation, Error> {
        Ok(ask!(self, Always, cancel, CancelRequest { id: id.to_owned() })?.0)
    }

    /// The backups at a place, oldest first.
    pub async fn backups(&self, url: &str) -> Result<Vec<BackupInfo>, Error> {
        Ok(ask!(self, Always, list_backups, ListBackupsRequest { url: url.to_owned() })?.0.backups)
    }

    fn service(&self, channel: Channel) -> OperationsClient<Channel> {
        OperationsClient::new(channel).max_decoding_message_size(self.0.options().answer_bytes_max)
    }
}
