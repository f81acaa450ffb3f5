//! The contract of the five ports: every promise of their doc comments, kept by RabbitMQ and by the embedded broker.
//!
//! Each promise is one function over a [`World`]; `promises!` makes a test of it for each broker.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking; clippy itself knows #[test] functions only")]

mod bulletin;
mod claims;
mod death;
mod letters;
mod log;
mod once;
mod queue;
mod rpc;
mod sources;
mod world;

use world::World;

/// Tests for both brokers, named `PORT::embedded::PROMISE` and `PORT::amqp::PROMISE`.
macro_rules! promises {
    ($($promise:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() -> anyhow::Result<()> {
                super::$promise(&crate::World::embedded().await?).await
            })+
        }

        mod amqp {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() -> anyhow::Result<()> {
                super::$promise(&crate::World::amqp().await?).await
            })+
        }
    };
}
pub(crate) use promises;
