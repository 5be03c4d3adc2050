//! What takes long: backups, and what is done with them. The messages are those of `operations.proto`.

use std::time::Duration;

use tonic::Streaming;
use tonic::transport::Channel;

use crate::Error;
use crate::call::{Client, Repeat};
use crate::error::Failure;
use crate::v1::begin_request::What;
use crate::v1::operations_client::OperationsClient;
use crate::v1::{
    BackupInfo, BeginRequest, CancelRequest, CreateBackup, DeleteBackup, ListBackupsRequest, ListOperationsRequest,
    ListOperationsResponse, Operation, Restore, VerifyBackup, WatchRequest,
};

/// Operations of the cluster. From [`Client::operations`].
pub struct Operations<'a>(&'a Client);

/// An operation as it goes on.
pub struct OperationStream {
    operations: Streaming<Operation>,
    address: String,
}

impl Client {
    /// What takes long, for whoever administers the cluster.
    pub fn operations(&self) -> Operations<'_> {
        Operations(self)
    }
}

/// Makes a call by its name.
macro_rules! ask {
    ($self:ident, $repeat:ident, $method:ident, $message:expr) => {
        $self
            .0
            .call(Repeat::$repeat, &$message, |channel, request| {
                let mut client = $self.service(channel);
                async move { client.$method(request).await }
            })
            .await
    };
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
        Ok(OperationStream { operations, address })
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

impl OperationStream {
    /// Where it is now; none once it has been told how the operation ended.
    pub async fn next(&mut self) -> Result<Option<Operation>, Error> {
        self.operations.message().await.map_err(|status| {
            let address = self.address.clone();
            match Failure::from(status) {
                Failure::Final(kind, message) => Error::Refused { address, kind, message },
                failure => {
                    let tried = vec![crate::Attempt { address, reason: failure.reason().to_owned() }];
                    Error::Unavailable { waited: Duration::ZERO, tried }
                }
            }
        })
    }
}
