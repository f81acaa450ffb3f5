//! The harness of the tests that need more than one crate, and of the programs that measure: private brokers, Warren's
//! programs as real processes, load on them, a ledger of what was confirmed, patience.
//!
//! Nothing of it outlives its process, and nothing is skipped: what is missing is an error that says how to get it.

pub mod api;
pub mod bad_documents;
pub mod browser;
pub mod deployment;
pub mod hostile;
pub mod http;
pub mod ledger;
pub mod member;
mod memory;
mod patience;
mod program;
mod proxy;
mod rabbitmq;
pub mod searches;
pub mod stack;
pub mod status;
pub mod store;
pub mod verification;
pub mod watcher;
pub mod web;
pub mod writers;

pub use api::Api;
pub use memory::{Memory, memory};
pub use patience::{eventually, within};
pub use program::{Program, programs};
pub use proxy::Proxy;
pub use rabbitmq::Node;
