//! Calls within one process: requests wait in a queue for each target, servers take them from there.

mod target;

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use fjall::{Keyspace, OwnedWriteBatch};
use futures_util::{StreamExt, stream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use warren_protocol::partition::PartitionId;
use warren_protocol::ports::{Incoming, RpcCall, RpcError, RpcTarget, SearchRpc};

use super::lock;
use super::store::{Store, StoreError};
use super::writer::Writer;
use target::{Server, Target};

/// The partitions' places outlive the process, as queues do: whoever created an index does not create them again.
const PREFIX: &str = "rpc/";

type Targets = Arc<Mutex<HashMap<String, Arc<Target>>>>;

/// All targets of this process, by name.
pub(super) struct Exchange {
    targets: Targets,
    meta: Keyspace,
    writer: Writer,
    closing: CancellationToken,
}

impl Exchange {
    pub(super) fn open(store: &Store, writer: Writer, closing: CancellationToken) -> Result<Self, StoreError> {
        let mut targets = HashMap::new();
        for entry in store.meta.prefix(PREFIX) {
            let key = entry.key()?;
            let name = std::str::from_utf8(&key[PREFIX.len()..]).map_err(|_| StoreError::Unrecoverable)?;
            targets.insert(name.to_owned(), Arc::new(Target::new(name)));
        }
        Ok(Self { targets: Arc::new(Mutex::new(targets)), meta: store.meta.clone(), writer, closing })
    }

    fn find(&self, target: &RpcTarget) -> Result<Arc<Target>, RpcError> {
        let name = target.to_string();
        lock(&self.targets).get(&name).cloned().ok_or(RpcError::NotFound(name))
    }

    async fn write(&self, change: impl FnOnce(&mut OwnedWriteBatch) + Send + 'static) -> Result<(), RpcError> {
        let prepare = |batch: &mut OwnedWriteBatch| {
            change(batch);
            || ()
        };
        self.writer.commit(0, prepare).await.map_err(|failure| RpcError::Unavailable(failure.to_string()))
    }
}

#[async_trait]
impl SearchRpc for Exchange {
    async fn create(&self, partition: &PartitionId) -> Result<(), RpcError> {
        let name = RpcTarget::Partition(partition.clone()).to_string();
        let (meta, key) = (self.meta.clone(), format!("{PREFIX}{name}"));
        self.write(move |batch| batch.insert(&meta, key.as_str(), b"")).await?;
        lock(&self.targets).entry(name).or_insert_with_key(|name| Arc::new(Target::new(name)));
        Ok(())
    }

    async fn delete(&self, partition: &PartitionId) -> Result<(), RpcError> {
        let name = RpcTarget::Partition(partition.clone()).to_string();
        let (meta, key) = (self.meta.clone(), format!("{PREFIX}{name}"));
        self.write(move |batch| batch.remove(&meta, key.as_str())).await?;
        let deleted = lock(&self.targets).remove(&name);
        if let Some(target) = deleted {
            target.close();
        }
        Ok(())
    }

    async fn call(&self, target: &RpcTarget, request: Bytes, deadline: Instant) -> Result<Bytes, RpcError> {
        let target = self.find(target)?;
        let (reply, mut replied) = oneshot::channel();
        target.push(request, reply)?;
        tokio::select! {
            // A reply that is there counts, however late it is looked at.
            biased;
            reply = answer(&mut replied) => reply,
            () = self.closing.cancelled() => Err(RpcError::Unavailable(super::CLOSED.into())),
            () = tokio::time::sleep_until(deadline.into()) => Err(RpcError::Deadline),
        }
    }

    async fn serve(&self, target: &RpcTarget, concurrency: NonZeroU16) -> Result<Incoming, RpcError> {
        let found = match target {
            RpcTarget::Partition(_) => self.find(target)?,
            RpcTarget::Worker(_) => {
                let name = target.to_string();
                let new = || Arc::new(Target::new(&name));
                Arc::clone(lock(&self.targets).entry(name.clone()).or_insert_with(new))
            }
        };
        let listening = Listening {
            server: Server::new(found, concurrency),
            // A worker's place goes with its server.
            place: matches!(target, RpcTarget::Worker(_)).then(|| Arc::clone(&self.targets)),
        };
        let calls = stream::unfold(listening, |mut listening| async {
            let call: RpcCall = listening.server.next().await?;
            Some((call, listening))
        });
        Ok(calls.take_until(self.closing.clone().cancelled_owned()).boxed())
    }
}

/// The answer, once there is one: a call that two servers let fall waits for its deadline.
async fn answer(replied: &mut oneshot::Receiver<Result<Bytes, RpcError>>) -> Result<Bytes, RpcError> {
    match replied.await {
        Ok(reply) => reply,
        Err(_) => std::future::pending().await,
    }
}

/// A server at its place.
struct Listening {
    server: Server,
    place: Option<Targets>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(targets) = &self.place {
            lock(targets).remove(self.server.target().name());
            self.server.target().close();
        }
    }
}
