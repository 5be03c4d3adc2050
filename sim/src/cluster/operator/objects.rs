//! A store of objects in memory, the same one for all nodes. Each call takes a moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellwether_server::env::{BoxFuture, ObjectError, ObjectStore, ObjectStores, ObjectUpload};
use bytes::Bytes;
use tokio::time::sleep;

use crate::random::Random;
use crate::work::lock;

/// Longest time that a call takes.
const DELAY_MS_MAX: u64 = 20;

/// See the module. Clones are the same store.
#[derive(Clone)]
pub struct SimObjects(Arc<Inner>);

struct Inner {
    objects: Mutex<BTreeMap<String, Bytes>>,
    delays: Mutex<Random>,
}

impl SimObjects {
    /// An empty store.
    pub fn new(seed: u64) -> SimObjects {
        let delays = Mutex::new(Random::of(seed, "objects"));
        SimObjects(Arc::new(Inner { objects: Mutex::default(), delays }))
    }

    async fn delayed<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Bytes>) -> T) -> T {
        let delay = lock(&self.0.delays).below(DELAY_MS_MAX);
        sleep(Duration::from_millis(delay)).await;
        work(&mut lock(&self.0.objects))
    }
}

impl ObjectStores for SimObjects {
    fn open(&self, _url: &str) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        Ok(Arc::new(self.clone()))
    }
}

impl ObjectStore for SimObjects {
    fn put<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<(), ObjectError>> {
        Box::pin(async move {
            self.delayed(|objects| objects.insert(key.to_owned(), content)).await;
            Ok(())
        })
    }

    fn create<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<bool, ObjectError>> {
        Box::pin(self.delayed(move |objects| {
            let is_new = !objects.contains_key(key);
            if is_new {
                objects.insert(key.to_owned(), content);
            }
            Ok(is_new)
        }))
    }

    fn begin<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectUpload>, ObjectError>> {
        let upload = Upload { store: self.clone(), key: key.to_owned(), content: Vec::new() };
        Box::pin(async move { Ok(Box::new(upload) as Box<dyn ObjectUpload>) })
    }

    fn read<'a>(&'a self, key: &'a str, offset: u64, length: u64) -> BoxFuture<'a, Result<Bytes, ObjectError>> {
        Box::pin(self.delayed(move |objects| {
            let object = objects.get(key).ok_or_else(|| ObjectError::Missing(key.to_owned()))?;
            let (first, end) = (offset as usize, offset.saturating_add(length) as usize);
            if end > object.len() {
                let reason = format!("it has {} bytes, {end} are wanted", object.len());
                return Err(ObjectError::Failed { key: key.to_owned(), reason });
            }
            Ok(object.slice(first..end))
        }))
    }

    fn size<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<u64>, ObjectError>> {
        Box::pin(self.delayed(move |objects| Ok(objects.get(key).map(|object| object.len() as u64))))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, ObjectError>> {
        let prefix = format!("{prefix}/");
        Box::pin(
            self.delayed(move |objects| Ok(objects.keys().filter(|key| key.starts_with(&prefix)).cloned().collect())),
        )
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), ObjectError>> {
        Box::pin(async move {
            self.delayed(|objects| objects.remove(key)).await;
            Ok(())
        })
    }
}

struct Upload {
    store: SimObjects,
    key: String,
    content: Vec<u8>,
}

impl ObjectUpload for Upload {
    fn append(&mut self, content: Bytes) -> BoxFuture<'_, Result<(), ObjectError>> {
        self.content.extend_from_slice(&content);
        Box::pin(async { Ok(()) })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), ObjectError>> {
        Box::pin(async move { self.store.put(&self.key, Bytes::from(self.content)).await })
    }

    fn abandon(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}
