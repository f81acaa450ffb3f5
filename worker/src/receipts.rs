//! Receipts: tells producers which of their batches searches see.
//!
//! A replica owes a report for each batch that wants one, from its indexing on until a commit makes it visible on a
//! replica that serves. Nothing is repeated and nothing waits for a producer: who hears nothing knows nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Mutex, mpsc};
use warren_protocol::ports::{Address, Bulletin};
use warren_protocol::receipt::{Report, Reports, Wanted};

/// The most reports that one replica owes; beyond, the oldest are forgotten.
const MAX_OWED: usize = 10_000;
/// The most reports in one message.
const MAX_TOLD: usize = 1000;
/// Messages that wait for their turn; beyond, they are lost.
const UNTOLD: usize = 1024;
/// How long a stop waits for what is to be told.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What one replica owes.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    reports: VecDeque<(Wanted, Report)>,
}

impl Owed {
    /// Notes that these are owed once they are visible.
    pub(crate) fn extend(&mut self, reports: impl IntoIterator<Item = (Wanted, Report)>) {
        let now_ms = now_ms();
        self.reports.extend(reports.into_iter().filter(|(wanted, _)| !wanted.is_over(now_ms)));
        let too_many = self.reports.len().saturating_sub(MAX_OWED);
        if too_many > 0 {
            tracing::debug!(too_many, "receipts are forgotten: more are wanted than a replica remembers");
            self.reports.drain(..too_many);
        }
    }

    /// All that is owed, by producer, in messages.
    fn settle(&mut self) -> Vec<(Address, Reports)> {
        let mut by_producer: HashMap<_, Vec<Report>> = HashMap::new();
        for (wanted, report) in self.reports.drain(..) {
            by_producer.entry(wanted.address()).or_default().push(report);
        }
        let messages = by_producer.into_iter().flat_map(|(address, reports)| {
            let chunks: Vec<_> = reports.chunks(MAX_TOLD).map(|chunk| Reports { batches: chunk.to_vec() }).collect();
            chunks.into_iter().map(move |reports| (address.clone(), reports))
        });
        messages.collect()
    }
}

/// Tells producers, one message after the other, beside everything else.
pub(crate) struct Receipts {
    bulletin: Arc<dyn Bulletin>,
    untold: mpsc::Sender<(Address, Reports)>,
    waiting: Mutex<mpsc::Receiver<(Address, Reports)>>,
}

impl Receipts {
    pub(crate) fn new(bulletin: Arc<dyn Bulletin>) -> Self {
        let (untold, waiting) = mpsc::channel(UNTOLD);
        Self { bulletin, untold, waiting: Mutex::new(waiting) }
    }

    /// Hands over what a replica owes, now that its searches see it.
    pub(crate) fn settle(&self, owed: &mut Owed) {
        for message in owed.settle() {
            if self.untold.try_send(message).is_err() {
                tracing::debug!("receipts are lost: the broker takes them too slowly");
            }
        }
    }

    /// Tells what is handed over, for ever.
    pub(crate) async fn run(&self) {
        let mut waiting = self.waiting.lock().await;
        while let Some((address, reports)) = waiting.recv().await {
            self.tell(&address, &reports).await;
        }
    }

    /// Tells what is left, once nothing more is handed over and [`Receipts::run`] was dropped.
    pub(crate) async fn finish(&self) {
        let rest = async {
            let mut waiting = self.waiting.lock().await;
            while let Ok((address, reports)) = waiting.try_recv() {
                self.tell(&address, &reports).await;
            }
        };
        if tokio::time::timeout(LAST_WORD, rest).await.is_err() {
            tracing::debug!("receipts are lost: the broker does not take them in time");
        }
    }

    async fn tell(&self, address: &Address, reports: &Reports) {
        let word = match reports.encode() {
            Ok(word) => word,
            Err(error) => return tracing::error!(%error, "reports cannot be written"),
        };
        if let Err(error) = self.bulletin.tell(address, word).await {
            tracing::debug!(%address, %error, "receipts are lost");
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use warren_protocol::ports::Position;

    use super::*;

    fn wanted(producer: u128, batch: u64, until_ms: u64) -> (Wanted, Report) {
        let producer = uuid::Uuid::from_u128(producer);
        (Wanted { producer, batch, until_ms }, Report { batch, position: Position(batch), failed: Vec::new() })
    }

    #[test]
    fn each_producer_is_told_of_its_own_in_messages_of_a_bounded_size() {
        let mut owed = Owed::default();
        let later = now_ms() + 60_000;
        owed.extend((0..1500).map(|batch| wanted(1, batch, later)));
        owed.extend([wanted(2, 7, later)]);
        let mut messages = owed.settle();
        messages.sort_by_key(|(_, reports)| reports.batches.len());
        let counts: Vec<_> = messages.iter().map(|(_, reports)| reports.batches.len()).collect();
        assert_eq!(counts, [1, 500, 1000]);
        assert_eq!(messages[0].1.batches[0].batch, 7);
        assert_eq!(owed.settle(), [], "nothing is told twice");
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_owed_and_the_rest_is_bounded() {
        let mut owed = Owed::default();
        owed.extend([wanted(1, 1, 1_000_000)]);
        assert_eq!(owed.settle(), [], "a log that is read again much later");
        let later = now_ms() + 60_000;
        owed.extend((0..MAX_OWED as u64 + 5).map(|batch| wanted(1, batch, later)));
        assert_eq!(owed.reports.len(), MAX_OWED);
        assert_eq!(owed.reports[0].1.batch, 5);
    }
}
