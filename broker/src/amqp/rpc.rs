//! Questions and answers on classic queues.

mod caller;
mod server;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use lapin::options::QueueDeleteOptions;
use warren_protocol::PartitionId;
use warren_protocol::ports::{ClientCalls, ClientReply, ClientRequest, Incoming, RpcError, RpcTarget, SearchRpc};

use super::connection::{Context, Link};
use super::pool::Pool;
use super::topology;
use caller::Caller;

pub(super) struct QueueRpc {
    context: Arc<Context>,
    caller: Caller,
    /// For servers: their requests and their replies.
    link: Arc<Link>,
    pool: Arc<Pool>,
}

impl QueueRpc {
    pub(super) fn new(context: &Arc<Context>, calls: &Arc<Link>, serves: &Arc<Link>, pool: &Arc<Pool>) -> Self {
        let caller = Caller::new(context, calls);
        Self { context: Arc::clone(context), caller, link: Arc::clone(serves), pool: Arc::clone(pool) }
    }
}

#[async_trait]
impl SearchRpc for QueueRpc {
    async fn create(&self, partition: &PartitionId) -> Result<(), RpcError> {
        let lease = self.pool.lease().await?;
        let channel = lease.channel();
        Ok(lease.run(topology::declare_search(&channel, &queue_of(partition))).await?)
    }

    async fn delete(&self, partition: &PartitionId) -> Result<(), RpcError> {
        let lease = self.pool.lease().await?;
        let channel = lease.channel();
        lease.run(channel.queue_delete(queue_of(partition).as_str().into(), QueueDeleteOptions::default())).await?;
        Ok(())
    }

    async fn call(&self, target: &RpcTarget, request: Bytes, deadline: Instant) -> Result<Bytes, RpcError> {
        self.caller.call(target.to_string(), request, deadline).await
    }

    async fn serve(&self, target: &RpcTarget, concurrency: NonZeroU16) -> Result<Incoming, RpcError> {
        server::serve(&self.context, &self.link, target, concurrency).await
    }

    async fn ask(&self, request: ClientRequest, deadline: Instant) -> Result<ClientReply, RpcError> {
        self.caller.ask(request, deadline).await
    }

    async fn serve_clients(&self, concurrency: NonZeroU16) -> Result<ClientCalls, RpcError> {
        server::serve_clients(&self.context, &self.link, concurrency).await
    }
}

fn queue_of(partition: &PartitionId) -> String {
    RpcTarget::Partition(partition.clone()).to_string()
}
