//! The promises, end to end: Warren's programs as real processes, on a real RabbitMQ, with real documents.

#![expect(clippy::expect_used, reason = "a test fails by panicking; clippy itself knows #[test] functions only")]

mod aggregations;
mod alarms;
mod bad_documents;
mod bounded_log;
mod clients;
mod crashes;
mod dead_letters;
mod documents;
mod elastic;
mod examples;
mod foreign;
mod foreign_clients;
mod hostile_queries;
mod intake;
mod links;
mod memory;
mod page;
mod ranking;
mod receipts;
mod recovery;
mod refusals;
mod rolling;
mod sample;
mod sources;
mod stack;
mod stacks;
mod up;

use warren_tests::deployment::{self, Deployment, Server};
