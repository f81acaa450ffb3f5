//! Links: jobs on the queue `warren.links`, and the fetchers that download each, extract its text and index it.
//!
//! The way of a link: [`link`] checks and normalises it, a [`job`] carries it through the queue; the fetchers take jobs in the order that
//! [`hosts`] allows, so that no host gets more than its share of them, nor more often than [`pauses`] says; [`fetch`] downloads, only from addresses that [`guard`] lets through
//! and [`resolve`] has looked up; [`failure`] is the one place that decides what is tried again and what is a dead letter.

mod body;
mod failure;
mod fetch;
mod fetchers;
mod guard;
mod hosts;
mod job;
mod link;
mod pauses;
mod resolve;
#[cfg(test)]
mod tests;

pub(crate) use fetchers::{Fetchers, World};
pub use job::{JobRequest, publish};
pub use link::{InvalidLink, Link};
