//! Conservation: every confirmed write is found, once, in its last version, and nothing else is.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinSet;

use crate::api::hits;
use crate::ledger::{Finding, Ledger};
use crate::status::Status;
use crate::{Api, eventually};

/// How long a system that is left in peace may take until every copy has everything.
const SETTLED: Duration = Duration::from_secs(180);
/// Ids of one search: a query has at most 16 KiB.
const CHUNK: usize = 200;
/// Searches are answered by one copy of each partition: several passes meet them all.
const PASSES: usize = 4;
/// Fetches that are under way at a time.
const FETCHES: usize = 16;
const EXAMPLES: usize = 20;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The ids that were looked for.
    pub ids: u64,
    /// Ids whose last write was never confirmed.
    pub unconfirmed: u64,
    /// Documents that a search for everything counts.
    pub counted: u64,
    /// Documents that were found as they must be.
    pub found: u64,
    /// Confirmed documents that were not found.
    pub lost: u64,
    /// Documents that were found more than once.
    pub duplicated: u64,
    /// Documents in another version than the last confirmed one.
    pub wrong_version: u64,
    /// Deleted documents that were found.
    pub ghosts: u64,
    /// Some of what is wrong.
    pub examples: Vec<String>,
}

impl Verdict {
    /// An error unless all is as it must be.
    pub fn check(&self) -> Result<()> {
        let Self { unconfirmed, lost, duplicated, wrong_version, ghosts, examples, .. } = self;
        let wrong = unconfirmed + lost + duplicated + wrong_version + ghosts;
        ensure!(wrong == 0 && examples.is_empty(), "{self}");
        Ok(())
    }

    fn note(&mut self, example: String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(example);
        }
    }

    fn judge(&mut self, id: &str, finding: Finding, version: Option<u64>) {
        match finding {
            Finding::Right => {
                self.found += u64::from(version.is_some());
                return;
            }
            Finding::Lost => self.lost += 1,
            Finding::WrongVersion => self.wrong_version += 1,
            Finding::Ghost => self.ghosts += 1,
        }
        self.note(format!("{id}: {finding:?}, found version {version:?}"));
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ids, unconfirmed, counted, found, lost, duplicated, wrong_version, ghosts, examples } = self;
        write!(
            f,
            "{ids} ids: {found} documents found, {counted} counted, {lost} lost, {duplicated} duplicated, {wrong_version} in a \
             wrong version, {ghosts} ghosts of deleted ones, {unconfirmed} never confirmed"
        )?;
        examples.iter().try_for_each(|example| write!(f, "\n  {example}"))
    }
}

/// Waits until everything written is in every copy, then looks for each id, by searches and by fetches. What is wrong
/// in one pass is wrong; it counts once. `others` are documents of the index that are in no ledger.
pub async fn verify(api: &Api, index: &str, ledgers: &[Ledger], others: u64) -> Result<Verdict> {
    let mut verdict = Verdict { unconfirmed: ledgers.iter().map(Ledger::unconfirmed).sum(), ..Verdict::default() };
    let live = ledgers.iter().map(Ledger::live).fold((others, others), |sum, (least, most)| (sum.0 + least, sum.1 + most));
    let settled = eventually("every copy has everything", SETTLED, async || {
        let (counted, held) = (api.count(index).await?, Status::of(api, index).await?.documents()?);
        ensure!((live.0..=live.1).contains(&counted) && counted == held, "{live:?} live, {counted} found, {held} held");
        Ok(counted)
    })
    .await;
    match settled {
        Ok(counted) => verdict.counted = counted,
        Err(error) => {
            verdict.counted = api.count(index).await?;
            verdict.note(format!("{error:#}"));
        }
    }
    for ledger in ledgers {
        let ids: Vec<String> = ledger.ids().collect();
        verdict.ids += ids.len() as u64;
        for (chunk_number, chunk) in ids.chunks(CHUNK).enumerate() {
            let looked_for =
                chunk.iter().enumerate().map(|(at, id)| (chunk_number * CHUNK + at, id.as_str())).collect::<Vec<_>>();
            look_for(api, index, ledger, &looked_for, &mut verdict).await?;
        }
    }
    Ok(verdict)
}

/// Judges some ids by their worst finding in several searches and a fetch.
async fn look_for(api: &Api, index: &str, ledger: &Ledger, ids: &[(usize, &str)], verdict: &mut Verdict) -> Result<()> {
    let mut findings: Vec<_> = versions(api, index, ids).await?.into_iter().map(Some).collect();
    for (at, version) in findings.iter_mut().enumerate() {
        let (number, _) = ids[at];
        *version = version.filter(|version| ledger.judge(number, *version) != Finding::Right);
    }
    let queries: Vec<String> = ids.iter().map(|(_, id)| format!("id:\"{id}\"")).collect();
    let mut last = HashMap::new();
    for _ in 0..PASSES {
        let answer = api.search(index, &queries.join(" "), 1000).await?;
        last = HashMap::new();
        for hit in hits(&answer) {
            let id = hit["id"].as_str().context("a hit without an id")?.to_owned();
            let version = hit["document"]["version"].as_u64().context("a document without a version")?;
            if last.insert(id.clone(), version).is_some() {
                verdict.duplicated += 1;
                verdict.note(format!("{id}: more than one hit"));
            }
        }
        for ((number, id), wrong) in ids.iter().zip(&mut findings) {
            let version = last.get(*id).copied();
            if ledger.judge(*number, version) != Finding::Right {
                *wrong = Some(version);
            }
        }
    }
    for ((number, id), wrong) in ids.iter().zip(findings) {
        let version = wrong.unwrap_or_else(|| last.get(*id).copied());
        verdict.judge(id, ledger.judge(*number, version), version);
    }
    Ok(())
}

/// The versions that fetches by id give.
async fn versions(api: &Api, index: &str, ids: &[(usize, &str)]) -> Result<Vec<Option<u64>>> {
    let mut versions = vec![None; ids.len()];
    let mut fetches = JoinSet::new();
    for (at, (_, id)) in ids.iter().enumerate() {
        if fetches.len() >= FETCHES
            && let Some(fetched) = fetches.join_next().await
        {
            let (at, version) = fetched??;
            versions[at] = version;
        }
        let (api, path) = (api.clone(), format!("/indexes/{index}/documents/{id}"));
        fetches.spawn(async move {
            match api.get(&path).await? {
                (200, document) => Ok((at, document["version"].as_u64())),
                (404, _) => Ok((at, None)),
                (status, answer) => bail!("{path}: {status}: {answer}"),
            }
        });
    }
    while let Some(fetched) = fetches.join_next().await {
        let (at, version) = fetched??;
        versions[at] = version;
    }
    Ok(versions)
}
