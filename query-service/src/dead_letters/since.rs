//! Whether the document of a dead letter was written since the letter was refused: then a replay would bring back what is
//! older. The partition's log says so: every batch in it has the time at which it was appended.
//!
//! Times are those of the processes that refused and appended. In one process they are exact: a letter's is taken behind
//! every write that came before it. Between processes they are as good as their clocks.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout};
use warren_protocol::batch::Batch;
use warren_protocol::dead_letter::{DeadLetter, now_ms};
use warren_protocol::ports::{FollowFrom, LogEntry, LogName, Position};
use warren_protocol::writer::{Verdict, WriterTable};
use warren_protocol::{DocumentId, IndexName, PartitionId, partition_of};

use super::index_of;
use crate::QueryService;

/// How long one log may be read.
const READING: Duration = Duration::from_secs(20);
/// How long the broker has for the next message where there has to be one.
const SILENCE: Duration = Duration::from_secs(10);
/// Behind the last message that is known, the rest of what the broker took together with it comes at once.
const REST: Duration = Duration::from_millis(250);

/// When each document was written last: `None`, at a time that is not known.
type Written = HashMap<String, Option<u64>>;

/// A letter whose document may have been written since.
struct Wanted<'a> {
    /// Which of the letters.
    at: usize,
    id: &'a str,
    refused_ms: u64,
}

impl QueryService {
    /// For each letter, why it is not to be replayed; `None` if nothing speaks against it.
    pub(super) async fn written_since(&self, letters: &[&DeadLetter]) -> Vec<Option<String>> {
        let mut reasons = vec![None; letters.len()];
        let mut by_partition: HashMap<PartitionId, Vec<Wanted<'_>>> = HashMap::new();
        for (at, letter) in letters.iter().enumerate() {
            let index = index_of(letter).and_then(|index| IndexName::new(index).ok());
            let (Some(index), Some(id)) = (index, letter.document_id.as_deref()) else { continue };
            // Of an index that is not there, nothing was written; without an id, nobody can tell.
            let (Some(entry), Ok(document)) = (self.shared.catalog.get(&index), DocumentId::new(id)) else { continue };
            let partition = partition_of(&document, entry.definition.partitions);
            let partition = PartitionId { index: entry.index.clone(), partition };
            let wanted = Wanted { at, id, refused_ms: letter.time_ms.unwrap_or_default() };
            by_partition.entry(partition).or_default().push(wanted);
        }
        for (partition, letters) in by_partition {
            let since = letters.iter().map(|wanted| wanted.refused_ms).min().unwrap_or_default();
            let ids = letters.iter().map(|wanted| wanted.id).collect::<Vec<_>>();
            match self.written(&partition, &ids, since).await {
                Ok(written) => {
                    for Wanted { at, id, refused_ms } in letters {
                        reasons[at] = match written.get(id) {
                            Some(Some(time)) if *time <= refused_ms => None,
                            Some(Some(_)) => Some(format!("document \"{id}\" was written since: force overwrites that")),
                            Some(None) => Some(format!("document \"{id}\" was written, perhaps since: force overwrites that")),
                            None => None,
                        };
                    }
                }
                Err(why) => {
                    for Wanted { at, id, .. } in letters {
                        reasons[at] = Some(format!("it is not known whether document \"{id}\" was written since ({why})"));
                    }
                }
            }
        }
        reasons
    }

    /// When these documents were written last, of what was appended since.
    async fn written(&self, partition: &PartitionId, ids: &[&str], since: u64) -> Result<Written, String> {
        let (log, logs) = (LogName::Partition(partition.clone()), &self.shared.ports.log);
        let words = |error: warren_protocol::ports::LogError| error.to_string();
        let started = now_ms();
        let Some(last) = logs.last(&log).await.map_err(words)? else { return Ok(Written::new()) };
        let oldest = next(&mut logs.follow(&log, FollowFrom::Start).await.map_err(words)?, SILENCE).await?;
        let goes_back = oldest.appended_ms.is_some_and(|time| time <= since) || oldest.position <= Position(1);
        if !goes_back {
            return Err("the log does not go back so far".to_owned());
        }
        let (mut written, mut writers) = (Written::new(), WriterTable::default());
        let mut entries = logs.follow(&log, FollowFrom::Time { unix_ms: since }).await.map_err(words)?;
        let (deadline, mut bytes, mut reached) = (Instant::now() + READING, 0, false);
        loop {
            let entry = match next(&mut entries, if reached { REST } else { SILENCE }).await {
                Ok(entry) => entry,
                Err(_) if reached => return Ok(written),
                Err(why) => return Err(why),
            };
            if reached && entry.appended_ms.is_some_and(|time| time > started) {
                return Ok(written);
            }
            bytes += entry.message.len() as u64;
            if bytes > self.shared.max_replay_bytes || Instant::now() > deadline {
                return Err("too much was written since: query.max_replay_bytes".to_owned());
            }
            reached |= entry.position >= last;
            let batch = Batch::decode(&entry.message).map_err(|error| error.to_string())?;
            let verdict = writers.judge(&batch.header, entry.position);
            let counts = matches!(verdict, Verdict::Apply | Verdict::ApplyAfterGap { .. });
            if !counts || entry.appended_ms.is_some_and(|time| time <= since) {
                continue;
            }
            let operations = batch.operations().map_err(|error| error.to_string())?;
            for operation in operations.iter() {
                let id = operation.map_err(|error| error.to_string())?.id().to_owned();
                if ids.contains(&id.as_str()) {
                    written.insert(id, entry.appended_ms);
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn next(entries: &mut warren_protocol::ports::Follower, patience: Duration) -> Result<LogEntry, String> {
    match timeout(patience, entries.next()).await {
        Ok(Some(entry)) => entry.map_err(|error| error.to_string()),
        Ok(None) => Err("the log cannot be followed".to_owned()),
        Err(_) => Err("the broker does not answer in time".to_owned()),
    }
}
