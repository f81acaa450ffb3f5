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
use warren_protocol::ports::{
    ClientCall, ClientCalls, ClientReply, ClientRequest, Incoming, RpcCall, RpcError, RpcTarget, SearchRpc,
};

use super::lock;
use super::store::{Store, StoreError};
use super::writer::Writer;
use target::{Server, Taken, Target};

/// The partitions' places outlive the process, as queues do: whoever created an index does not create them again.
const PREFIX: &str = "rpc/";
/// As RabbitMQ's queue is named.
const CLIENTS: &str = "warren.search";

/// A partition, or a worker.
type Place = Target<Bytes, Bytes>;
type Targets = Arc<Mutex<HashMap<String, Arc<Place>>>>;

/// What a client asks, and until when it awaits the answer.
type Asked = (ClientRequest, Instant);

/// All targets of this process, by name.
pub(super) struct Exchange {
    targets: Targets,
    clients: Arc<Target<Asked, ClientReply>>,
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
        let (targets, clients) = (Arc::new(Mutex::new(targets)), Arc::new(Target::new(CLIENTS)));
        Ok(Self { targets, clients, meta: store.meta.clone(), writer, closing })
    }

    fn find(&self, target: &RpcTarget) -> Result<Arc<Place>, RpcError> {
        let name = target.to_string();
        lock(&self.targets).get(&name).cloned().ok_or(RpcError::NotFound(name))
    }

    /// Lets a request wait at its target, and awaits the answer.
    async fn put<Q, A>(&self, target: &Target<Q, A>, request: Q, deadline: Instant) -> Result<A, RpcError> {
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
        self.put(&target, request, deadline).await
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
            let Taken { request, redelivered, responder } = listening.server.next().await?;
            Some((RpcCall::new(request, redelivered, Box::new(responder)), listening))
        });
        Ok(calls.take_until(self.closing.clone().cancelled_owned()).boxed())
    }

    async fn ask(&self, request: ClientRequest, deadline: Instant) -> Result<ClientReply, RpcError> {
        self.put(&self.clients, (request, deadline), deadline).await
    }

    async fn serve_clients(&self, concurrency: NonZeroU16) -> Result<ClientCalls, RpcError> {
        let server = Server::new(Arc::clone(&self.clients), concurrency);
        let calls = stream::unfold(server, |mut server| async {
            let Taken { request: (request, deadline), redelivered, responder } = server.next().await?;
            let mut call = ClientCall::new(request, redelivered, Box::new(responder));
            call.deadline = Some(deadline);
            Some((call, server))
        });
        Ok(calls.take_until(self.closing.clone().cancelled_owned()).boxed())
    }
}

/// The answer, once there is one: a call that two servers let fall waits for its deadline.
async fn answer<A>(replied: &mut oneshot::Receiver<Result<A, RpcError>>) -> Result<A, RpcError> {
    match replied.await {
        Ok(reply) => reply,
        Err(_) => std::future::pending().await,
    }
}

/// A server at its place.
struct Listening {
    server: Server<Bytes, Bytes>,
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
