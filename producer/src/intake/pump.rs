//! Takes messages off a consumer as fast as they come, and counts their bytes.
//!
//! The broker's prefetch counts messages, whatever they weigh, and cannot be changed while a consumer lives. So a consumer is given up at
//! once when more bytes came than it may hold: what is unsettled goes back to the queue, and the next session prefetches less.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use warren_protocol::ports::{Deliveries, Delivery, Message};

/// What a message takes besides its body and its headers.
const MESSAGE_OVERHEAD: usize = 1024;

/// A message in hand.
pub(super) struct InHand {
    pub delivery: Delivery,
    pub weight: Weight,
}

/// The bytes of a message; they count until this is dropped, which has to be before it is settled: the next one may come at once.
pub(super) struct Weight {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Weight {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Takes messages off one consumer; dropped, it gives back what is not settled.
pub(super) struct Pump {
    received: mpsc::Receiver<InHand>,
    /// The largest message so far.
    largest: Arc<AtomicUsize>,
    overfull: CancellationToken,
    task: JoinSet<()>,
}

/// What a message weighs.
fn weigh(message: &Message) -> usize {
    let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    message.body.len() + headers + MESSAGE_OVERHEAD
}

impl Pump {
    /// Starts to take messages, of which at most `limit` bytes may be in hand, unless it is a single one.
    pub(super) fn start(mut deliveries: Deliveries, prefetch: NonZeroU16, limit: usize) -> Self {
        let (sender, received) = mpsc::channel(prefetch.get().into());
        let (largest, overfull) = (Arc::<AtomicUsize>::default(), CancellationToken::new());
        let mut task = JoinSet::new();
        let (seen, broken) = (Arc::clone(&largest), overfull.clone());
        task.spawn(async move {
            let all = Arc::<AtomicUsize>::default();
            while let Some(delivery) = deliveries.next().await {
                let bytes = weigh(&delivery.message);
                seen.fetch_max(bytes, Ordering::Relaxed);
                let before = all.fetch_add(bytes, Ordering::Relaxed);
                if before > 0 && before + bytes > limit {
                    broken.cancel();
                    return;
                }
                let weight = Weight { bytes, all: Arc::clone(&all) };
                if sender.send(InHand { delivery, weight }).await.is_err() {
                    return;
                }
            }
        });
        Self { received, largest, overfull, task }
    }

    /// The next message; `None` if the consumer is lost or given up.
    pub(super) async fn next(&mut self) -> Option<InHand> {
        tokio::select! {
            biased;
            () = self.overfull.cancelled() => None,
            received = self.received.recv() => received,
        }
    }

    /// Whether the consumer was given up because it brought too much: then the weight of the largest message.
    pub(super) fn overfull(&self) -> Option<usize> {
        self.overfull.is_cancelled().then(|| self.largest.load(Ordering::Relaxed))
    }

    /// Gives the consumer up; what is not settled is back in the queue then.
    pub(super) async fn stop(&mut self) {
        self.received.close();
        while self.received.recv().await.is_some() {}
        self.task.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use warren_broker::Settings;
    use warren_protocol::ports::{QueueName, Settlement};

    use super::*;

    const KIB: usize = 1024;

    #[tokio::test]
    async fn a_consumer_that_brings_too_much_is_given_up_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let broker = warren_broker::connect(&Settings::default(), "test", folder.path()).await.unwrap();
        let queue = &broker.ports.queue;
        for size in [10, 20, 100, 200, 300] {
            let message = Message { body: vec![b'x'; size * KIB].into(), ..Message::default() };
            queue.publish(QueueName::Intake, message).await.unwrap();
        }
        let prefetch = NonZeroU16::new(10).unwrap();
        let mut pump = Pump::start(queue.consume(QueueName::Intake, prefetch).await.unwrap(), prefetch, 250 * KIB);
        // 10, 20 and 100 KiB are no more than may be in hand, with 200 KiB more they are.
        pump.overfull.cancelled().await;
        assert!(pump.next().await.is_none());
        assert_eq!(pump.overfull(), Some(200 * KIB + MESSAGE_OVERHEAD));
        pump.stop().await;
        assert_eq!(queue.depth(QueueName::Intake).await.unwrap(), 5);

        // One at a time always goes, even if it alone is too much.
        let one = NonZeroU16::MIN;
        let mut pump = Pump::start(queue.consume(QueueName::Intake, one).await.unwrap(), one, 250 * KIB);
        for size in [10, 20, 100, 200, 300] {
            let InHand { delivery, weight } = pump.next().await.unwrap();
            assert_eq!(delivery.message.body.len(), size * KIB);
            drop(weight);
            delivery.settle(Settlement::Done).await.unwrap();
        }
        assert_eq!(pump.overfull(), None);
        pump.stop().await;
        broker.close().await;
    }
}
