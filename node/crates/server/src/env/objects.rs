//! Stores of whole objects by key: where backups are kept. A directory or an S3-compatible service; see `node/src`.

use std::sync::Arc;

use bytes::Bytes;

use super::BoxFuture;

/// Opens stores by URL.
pub trait ObjectStores: Send + Sync + 'static {
    /// The store at `url`, a prefix of keys included. Credentials come from the node's own surroundings, never from
    /// the URL. Nothing is reached yet.
    fn open(&self, url: &str) -> Result<Arc<dyn ObjectStore>, ObjectError>;
}

/// Objects by key. A key's parts are separated by `/`; an object is there whole or not at all, and durable once its
/// writing has returned.
pub trait ObjectStore: Send + Sync + 'static {
    /// Writes an object, or replaces it.
    fn put<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<(), ObjectError>>;
    /// Writes an object that must not be there yet; `false`: it is, and stays as it is.
    fn create<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<bool, ObjectError>>;
    /// Begins an object that is too large to be at hand as a whole.
    fn begin<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectUpload>, ObjectError>>;
    /// Bytes of an object from `offset` on, `length` of them. [`ObjectError::Missing`] if there is no such object, an
    /// error as well if it is shorter.
    fn read<'a>(&'a self, key: &'a str, offset: u64, length: u64) -> BoxFuture<'a, Result<Bytes, ObjectError>>;
    /// An object's length; `None`: there is none.
    fn size<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<u64>, ObjectError>>;
    /// The keys that begin with `prefix` and a `/`, ascending.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, ObjectError>>;
    /// Deletes an object; none there is no error.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), ObjectError>>;
}

/// An object that is being written. Dropped without [`finish`](Self::finish) or [`abandon`](Self::abandon), it may leave
/// parts behind that nobody sees.
pub trait ObjectUpload: Send {
    /// Adds bytes at its end.
    fn append(&mut self, content: Bytes) -> BoxFuture<'_, Result<(), ObjectError>>;
    /// Makes it an object.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), ObjectError>>;
    /// Gives it up.
    fn abandon(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// Why a store did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The URL names no store that there is.
    #[error("{url} cannot be used: {reason}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such object.
    #[error("object {0} is not there")]
    Missing(String),
    /// The store may not be used so.
    #[error("object {key}: permission denied: {reason}")]
    Denied {
        /// The object.
        key: String,
        /// What the store says.
        reason: String,
    },
    /// Anything else; a later attempt may succeed.
    #[error("object {key}: {reason}")]
    Failed {
        /// The object.
        key: String,
        /// What the store says.
        reason: String,
    },
}

/// No store at all, for a world that has none.
pub struct NoObjects;

impl ObjectStores for NoObjects {
    fn open(&self, url: &str) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        Err(ObjectError::Url { url: url.to_owned(), reason: "this node has no object stores".to_owned() })
    }
}
