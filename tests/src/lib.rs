//! The harness of the tests that need more than one crate: private brokers, programs as real processes, patience.
//!
//! Nothing of it outlives the test process, however that ends, and nothing is skipped: what is missing is an error
//! that says how to get it.

pub mod http;
mod patience;
mod program;
mod rabbitmq;

pub use patience::{eventually, within};
pub use program::Program;
pub use rabbitmq::Node;
