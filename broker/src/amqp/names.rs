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

/// Set by quorum queues: how often a message came back.
pub(super) const HEADER_DELIVERY_COUNT: &str = "x-delivery-count";
/// Of a message of a log: when it was appended, in Unix milliseconds.
pub(super) const HEADER_TIME: &str = "warren-time";
/// Set by streams: the position of a message.
pub(super) const HEADER_STREAM_OFFSET: &str = "x-stream-offset";

/// The queue whose holder consumes a foreign queue.
pub(super) fn lock_of(queue: &str) -> String {
    let name = format!("warren.source.lock.{queue}");
    // AMQP takes 255 bytes; two queues with so long a common beginning only wait for each other.
    name.chars()
        .scan(0, |bytes, char| {
            *bytes += char.len_utf8();
            (*bytes <= 255).then_some(char)
        })
        .collect()
}
