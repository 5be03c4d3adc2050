//! Object stores: directories (`file:///path`) and S3-compatible services (`s3://bucket/prefix`), by `object_store`.
//!
//! What S3 needs beyond the URL comes from the environment of the process, under the names that AWS's own tools use:
//! `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT` (for other
//! services), `AWS_ALLOW_HTTP`; or from the machine's role. It is never logged.

use std::path::Path as FilePath;
use std::sync::Arc;

use bellwether_server::env::{BoxFuture, ObjectError, ObjectStore, ObjectStores, ObjectUpload};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, MultipartUpload, ObjectStoreExt, PutMode, PutPayload};

/// S3 takes parts from 5 MiB on, all but the last.
const PART_BYTES_MIN: usize = 8 << 20;

/// Opens stores by their URLs.
pub struct StoresByUrl;

impl ObjectStores for StoresByUrl {
    fn open(&self, url: &str) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        let wrong = |reason: String| ObjectError::Url { url: url.to_owned(), reason };
        if let Some(directory) = url.strip_prefix("file://") {
            return open_directory(directory).map_err(wrong);
        }
        if let Some(rest) = url.strip_prefix("s3://") {
            return open_bucket(rest).map_err(wrong);
        }
        Err(wrong("it must begin with file:/// or s3://".to_owned()))
    }
}

fn open_directory(directory: &str) -> Result<Arc<dyn ObjectStore>, String> {
    if !directory.starts_with('/') {
        return Err("a directory is named by its whole path, as in file:///var/backups".to_owned());
    }
    if directory.split('/').any(|part| part == "..") {
        return Err("a path with .. is refused".to_owned());
    }
    std::fs::create_dir_all(directory).map_err(|error| error.to_string())?;
    let store = LocalFileSystem::new_with_prefix(FilePath::new(directory)).map_err(|error| error.to_string())?;
    Ok(Arc::new(Objects { store: store.with_fsync(true), prefix: Path::default() }))
}

fn open_bucket(rest: &str) -> Result<Arc<dyn ObjectStore>, String> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() || bucket.contains(['@', ':', '?']) {
        return Err("it must read s3://bucket/prefix; keys come from the environment of the node".to_owned());
    }
    // Nobody else in this process may have chosen one; whoever has, chose the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    let prefix = Path::parse(prefix.trim_matches('/')).map_err(|error| error.to_string())?;
    let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build().map_err(|error| error.to_string())?;
    Ok(Arc::new(Objects { store, prefix }))
}

struct Objects<S> {
    store: S,
    prefix: Path,
}

impl<S> Objects<S> {
    fn path(&self, key: &str) -> Path {
        key.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }
}

impl<S: object_store::ObjectStore> ObjectStore for Objects<S> {
    fn put<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<(), ObjectError>> {
        Box::pin(async move {
            let put = self.store.put(&self.path(key), PutPayload::from_bytes(content)).await;
            put.map(drop).map_err(|error| failed(key, error))
        })
    }

    fn create<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<bool, ObjectError>> {
        Box::pin(async move {
            let content = PutPayload::from_bytes(content);
            match self.store.put_opts(&self.path(key), content, PutMode::Create.into()).await {
                Ok(_) => Ok(true),
                Err(Error::AlreadyExists { .. }) => Ok(false),
                Err(error) => Err(failed(key, error)),
            }
        })
    }

    fn begin<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectUpload>, ObjectError>> {
        Box::pin(async move {
            let upload = self.store.put_multipart(&self.path(key)).await.map_err(|error| failed(key, error))?;
            let upload = Upload { key: key.to_owned(), upload, waiting: Vec::new(), waiting_bytes: 0 };
            Ok(Box::new(upload) as Box<dyn ObjectUpload>)
        })
    }

    fn read<'a>(&'a self, key: &'a str, offset: u64, length: u64) -> BoxFuture<'a, Result<Bytes, ObjectError>> {
        Box::pin(async move {
            if length == 0 {
                return Ok(Bytes::new());
            }
            let read = self.store.get_range(&self.path(key), offset..offset.saturating_add(length)).await;
            let read = read.map_err(|error| failed(key, error))?;
            if read.len() as u64 != length {
                let reason = format!("it has {} bytes from {offset} on instead of {length}", read.len());
                return Err(ObjectError::Failed { key: key.to_owned(), reason });
            }
            Ok(read)
        })
    }

    fn size<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<u64>, ObjectError>> {
        Box::pin(async move {
            match self.store.head(&self.path(key)).await {
                Ok(about) => Ok(Some(about.size)),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(failed(key, error)),
            }
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, ObjectError>> {
        Box::pin(async move {
            let found = self.store.list(Some(&self.path(prefix))).try_collect::<Vec<_>>().await;
            let found = found.map_err(|error| failed(prefix, error))?;
            let key = |path: &Path| {
                let parts: Vec<_> = path.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
                Some(parts.join("/"))
            };
            let mut keys: Vec<String> = found.iter().filter_map(|about| key(&about.location)).collect();
            keys.sort_unstable();
            Ok(keys)
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), ObjectError>> {
        Box::pin(async move {
            match self.store.delete(&self.path(key)).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(failed(key, error)),
            }
        })
    }
}

struct Upload {
    key: String,
    upload: Box<dyn MultipartUpload>,
    /// Not enough for a part yet.
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
}

impl Upload {
    async fn send(&mut self) -> Result<(), ObjectError> {
        self.waiting_bytes = 0;
        let part: PutPayload = std::mem::take(&mut self.waiting).into_iter().collect();
        self.upload.put_part(part).await.map_err(|error| failed(&self.key, error))
    }
}

impl ObjectUpload for Upload {
    fn append(&mut self, content: Bytes) -> BoxFuture<'_, Result<(), ObjectError>> {
        Box::pin(async move {
            self.waiting_bytes += content.len();
            self.waiting.push(content);
            if self.waiting_bytes >= PART_BYTES_MIN { self.send().await } else { Ok(()) }
        })
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<(), ObjectError>> {
        Box::pin(async move {
            if self.waiting_bytes > 0 {
                self.send().await?;
            }
            self.upload.complete().await.map(drop).map_err(|error| failed(&self.key, error))
        })
    }

    fn abandon(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let Err(error) = self.upload.abort().await {
                tracing::warn!(key = self.key, %error, "an object that was given up was not removed");
            }
        })
    }
}

fn failed(key: &str, error: Error) -> ObjectError {
    let key = key.to_owned();
    match error {
        Error::NotFound { .. } => ObjectError::Missing(key),
        Error::PermissionDenied { source, .. } | Error::Unauthenticated { source, .. } => {
            ObjectError::Denied { key, reason: source.to_string() }
        }
        error => ObjectError::Failed { key, reason: chain(&error) },
    }
}

/// The store's own words end in the cause, which says most.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(&format!(": {inner_text}"));
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_keeps_objects_by_key() {
        let place = tempfile::tempdir().unwrap();
        let store = StoresByUrl.open(&format!("file://{}/a b", place.path().display())).unwrap();
        store.put("objects/ab/one", Bytes::from_static(b"hello")).await.unwrap();
        assert!(store.create("locks/1", Bytes::from_static(b"x")).await.unwrap());
        assert!(!store.create("locks/1", Bytes::from_static(b"y")).await.unwrap());
        assert_eq!(store.read("locks/1", 0, 1).await.unwrap(), "x");
        assert_eq!(store.read("objects/ab/one", 1, 3).await.unwrap(), "ell");
        assert!(store.read("objects/ab/one", 4, 3).await.is_err());
        let mut upload = store.begin("objects/ab/two").await.unwrap();
        upload.append(Bytes::from(vec![1; PART_BYTES_MIN])).await.unwrap();
        upload.append(Bytes::from_static(b"end")).await.unwrap();
        assert_eq!(store.size("objects/ab/two").await.unwrap(), None, "not before it is whole");
        upload.finish().await.unwrap();
        assert_eq!(store.size("objects/ab/two").await.unwrap(), Some(PART_BYTES_MIN as u64 + 3));
        let mut given_up = store.begin("objects/ab/three").await.unwrap();
        given_up.append(Bytes::from_static(b"end")).await.unwrap();
        given_up.abandon().await;
        assert_eq!(store.list("objects").await.unwrap(), ["objects/ab/one", "objects/ab/two"]);
        store.delete("objects/ab/one").await.unwrap();
        store.delete("objects/ab/one").await.unwrap();
        assert_eq!(store.read("objects/ab/one", 0, 1).await, Err(ObjectError::Missing("objects/ab/one".to_owned())));
    }

    #[test]
    fn a_url_that_names_no_store_or_carries_a_secret_is_refused() {
        for bad in ["/tmp/x", "file://tmp", "file:///a/../b", "ftp://x", "s3://", "s3://key:secret@bucket/x"] {
            let error = StoresByUrl.open(bad).err().unwrap();
            assert!(matches!(error, ObjectError::Url { .. }), "{bad}: {error}");
        }
    }
}
