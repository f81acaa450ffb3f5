//! The names of what all processes share on the broker; those of one index, worker or slot are the `Display` of the
//! protocol's types.

/// Topic exchange: documents from any client, routed by the name of the index.
pub(super) const DOCUMENTS: &str = "warren.documents";
/// Topic exchange: links to be fetched, routed by the name of the index.
pub(super) const LINKS: &str = "warren.links";
/// Topic exchange: searches from any client, routed by the name of the index.
pub(super) const SEARCH_EXCHANGE: &str = "warren.search";
/// The queue behind it, for which the query services compete.
pub(super) const SEARCH_QUEUE: &str = "warren.search";
/// Fanout exchange: announcements.
pub(super) const BULLETIN: &str = "warren.bulletin";
/// Fanout exchange: dead letters.
pub(super) const DEAD: &str = "warren.dead";

/// The default exchange routes by the name of the queue.
pub(super) const DEFAULT_EXCHANGE: &str = "";
/// Consumed on a channel, it makes the broker send replies there; named as `reply_to`, it is that address.
pub(super) const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Headers of a dead letter.
pub(super) const HEADER_REASON: &str = "warren-reason";
/// For people.
pub(super) const HEADER_DETAIL: &str = "warren-detail";
/// The queue that it was taken from.
pub(super) const HEADER_SOURCE: &str = "warren-source";
/// How often it was handed out.
pub(super) use warren_protocol::ports::HEADER_ATTEMPTS;
/// Set by quorum queues: how often a message came back.
pub(super) const HEADER_DELIVERY_COUNT: &str = "x-delivery-count";
/// Set by the broker on dead letters of its own, and followed by the whole of `x-first-death-…` and `x-last-death-…`.
pub(super) const HEADERS_OF_DEATH: [&str; 3] = ["x-death", "x-first-death-", "x-last-death-"];
/// Set by streams: the position of a message.
pub(super) const HEADER_STREAM_OFFSET: &str = "x-stream-offset";
