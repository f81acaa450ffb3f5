//! The promises, end to end: Warren's programs as real processes, on a real RabbitMQ, with real documents.

#![expect(clippy::expect_used, reason = "a test fails by panicking; clippy itself knows #[test] functions only")]

mod crashes;
mod foreign;
mod page;
mod refusals;
mod sample;
mod stack;
mod up;

use warren_tests::deployment::{self, Deployment, Server};
