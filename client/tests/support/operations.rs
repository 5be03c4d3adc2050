//! The part of the node that is not one which is about what takes long.

use std::pin::Pin;

use bellwether_client::v1::begin_request::What;
use bellwether_client::v1::*;
use tokio_stream::{Stream, iter};
use tonic::{Request, Response, Status};

use super::FakeNode;

fn what(what: What) -> String {
    match what {
        What::CreateBackup(CreateBackup { url }) => format!("backup create {url}"),
        What::VerifyBackup(VerifyBackup { url, id }) => format!("backup verify {url} {id}"),
        What::DeleteBackup(DeleteBackup { url, id }) => format!("backup delete {url} {id}"),
        What::Restore(Restore { url, id, merge, skip_verify, skip_settings }) => {
            format!("restore {url} {id} {merge} {skip_verify} {skip_settings}")
        }
        What::DrainNode(DrainNode { node }) => format!("drain {node}"),
        What::MoveShard(MoveShard { group, from, to }) => format!("move {group} from {from} to {to}"),
        What::Rebalance(Rebalance {}) => "rebalance".to_owned(),
    }
}

#[tonic::async_trait]
impl operations_server::Operations for FakeNode {
    async fn begin(&self, request: Request<BeginRequest>) -> Result<Response<Operation>, Status> {
        self.answer(|script| {
            script.asked.push(what(request.into_inner().what.unwrap()));
            script.operations[0].clone()
        })
    }

    async fn list(&self, _: Request<ListOperationsRequest>) -> Result<Response<ListOperationsResponse>, Status> {
        self.answer(|script| ListOperationsResponse { operations: script.operations.clone(), silent_nodes: vec![3] })
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<Operation, Status>> + Send>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.answer(|script| {
            let operations: Vec<_> = script.operations.iter().cloned().map(Ok).collect();
            Box::pin(iter(operations)) as Self::WatchStream
        })
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<Operation>, Status> {
        self.answer(|script| {
            script.asked.push(format!("cancel {}", request.into_inner().id));
            let state = OperationState::Cancelled.into();
            Operation { state, ..script.operations[0].clone() }
        })
    }

    async fn list_backups(&self, _: Request<ListBackupsRequest>) -> Result<Response<ListBackupsResponse>, Status> {
        self.answer(|script| ListBackupsResponse { backups: script.backups.clone() })
    }
}
