//! Exactly once: what one writer appends, over connections that break, a follower with a writer table applies once.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Result, ensure};
use warren_protocol::batch::{Epoch, Kind, Sequence, WriterId, encode_open};
use warren_protocol::ports::{Appended, FollowFrom, LogError, LogLimits, PartitionLog};
use warren_protocol::writer::{Verdict, WriterTable};
use warren_protocol::{Batch, DocumentId, PayloadBuilder};
use warren_tests::within;

use crate::World;
use crate::world::{log, next};

crate::promises!(every_batch_is_applied_once_whatever_breaks);

const BATCHES: Sequence = 3000;
const WINDOW: usize = 100;

/// The writer's side of the protocol, as short as it can be.
struct Writer<'a> {
    log: &'a dyn PartitionLog,
    id: WriterId,
    epoch: Epoch,
    /// All sequences below are confirmed.
    confirmed: Sequence,
    /// The confirms of the sequences from there on.
    open: VecDeque<Appended>,
}

impl Writer<'_> {
    /// Appends until all is confirmed, or the connection is lost.
    async fn run(&mut self) -> Result<(), LogError> {
        self.epoch += 1;
        self.open.clear();
        let open = encode_open(self.id, self.epoch, self.epoch > 1, self.confirmed);
        self.log.append(&log(0), open).await?.await?;
        let mut next = self.confirmed;
        while self.confirmed < BATCHES {
            while next < BATCHES && self.open.len() < WINDOW {
                let mut payload = PayloadBuilder::default();
                payload.push(&DocumentId::new(next.to_string()).expect("a good id"), Some(b"{}"));
                let message = payload.finish().expect("it packs").encode(self.id, self.epoch, next, None);
                self.open.push_back(self.log.append(&log(0), message).await?);
                next += 1;
            }
            if let Some(confirm) = self.open.pop_front() {
                confirm.await?;
                self.confirmed += 1;
            }
        }
        Ok(())
    }
}

async fn every_batch_is_applied_once_whatever_breaks(world: &World) -> Result<()> {
    let logs = &world.ports().log;
    logs.create(&log(0), LogLimits { max_bytes: None }).await?;
    let mut follower = logs.follow(&log(0), FollowFrom::Start).await?;

    let write = async {
        let mut writer = Writer { log: &**logs, id: WriterId::random(), epoch: 0, confirmed: 0, open: VecDeque::new() };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while let Err(error) = writer.run().await {
            ensure!(matches!(error, LogError::Unavailable(_)), "{error}");
            ensure!(tokio::time::Instant::now() < deadline, "{error}, after {} of {BATCHES}", writer.confirmed);
        }
        // What is sent again in a new epoch although it was confirmed is not applied again either.
        writer.confirmed = BATCHES - 10;
        Ok(writer.run().await?)
    };
    let disturb = async {
        for _ in 0..2 {
            world.disconnect().await?;
        }
        Ok(())
    };
    let apply = async {
        let mut table = WriterTable::default();
        let mut applied = Vec::new();
        let mut repeated = 0;
        while repeated < 10 {
            let entry = next(&mut follower).await??;
            let batch = Batch::decode(&entry.message)?;
            match (table.judge(&batch.header, entry.position), batch.header.kind) {
                (Verdict::Apply, Kind::Write { sequence, .. }) => applied.push(sequence),
                (Verdict::Duplicate, Kind::Write { sequence, .. }) if sequence >= BATCHES - 10 => repeated += 1,
                (Verdict::Opened | Verdict::Duplicate | Verdict::Stale, _) => {}
                (verdict, kind) => panic!("{verdict:?} of {kind:?}"),
            }
        }
        Ok(applied)
    };
    let (written, disturbed, applied): (Result<()>, Result<()>, Result<Vec<Sequence>>) =
        within("all batches are applied", async { tokio::join!(write, disturb, apply) }).await?;
    written?;
    disturbed?;
    assert_eq!(applied?, (0..BATCHES).collect::<Vec<_>>());
    Ok(())
}
