//! The five ports: all that Warren asks of a broker.
//!
//! Each is a trait with its contract in its doc comment and two implementations, `amqp` (RabbitMQ) and `embedded`
//! (one process, data in a folder); both pass one contract suite, `tests/contract/`. The ports take and give domain
//! types; what they carry is bytes that the modules of this crate encode.
//!
//! Every call ends: an implementation has a time limit of its own for each wait on the network, and reports
//! `Unavailable` when it passes. Connections that are lost are made again inside the implementation.

mod bulletin;
mod claims;
mod client_call;
mod partition_log;
mod search_rpc;
mod work_queue;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use bulletin::{Address, Bulletin, BulletinError, InvalidAddress};
pub use claims::{ClaimError, Claims, HeldSlot, Slot};
pub use client_call::{ClientCall, ClientCalls, ClientReply, ClientRequest, ClientResponder, NoAddress};
pub use partition_log::{
    Appended, FollowFrom, Follower, LogEntry, LogError, LogLimits, LogName, PartitionLog, Position, SEGMENT_GAP,
};
pub use search_rpc::{Incoming, Responder, RpcCall, RpcError, RpcTarget, SearchRpc};
pub use work_queue::{
    Binding, Deliveries, Delivery, Message, QueueError, QueueName, Settle, Settlement, Sifted, SourceQueue, Way, WorkQueue,
};

/// A broker, whichever it is.
#[derive(Clone)]
pub struct Ports {
    /// The ordered record of every write.
    pub log: Arc<dyn PartitionLog>,
    /// Work that one consumer at a time does, and settles.
    pub queue: Arc<dyn WorkQueue>,
    /// Questions to partitions and workers.
    pub rpc: Arc<dyn SearchRpc>,
    /// The right to hold a replica.
    pub claims: Arc<dyn Claims>,
    /// Announcements to all, and words to one.
    pub bulletin: Arc<dyn Bulletin>,
}

/// The name of a running worker: unique, chosen anew at each start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub String);

impl WorkerId {
    /// A name that no other worker has.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
