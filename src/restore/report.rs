//! What `warren restore` says in the end.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use warren_protocol::IndexName;

use super::Outcome;
use super::lives::{Found, Life};
use crate::table;

/// Prints what is restored, partition by partition, and what is not.
pub(super) fn print(url: &str, found: &BTreeMap<IndexName, Found>, outcomes: &BTreeMap<IndexName, Outcome>) {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    let lives: Vec<&Life> = found.values().filter_map(|found| found.newest.as_ref()).collect();
    let is_there = |life: &&&Life| !matches!(outcomes.get(&life.index.name), Some(Outcome::Failed(_)));
    let there: Vec<&Life> = lives.iter().filter(is_there).copied().collect();
    if !there.is_empty() {
        let rows: Vec<_> = there.iter().flat_map(|life| rows(life, now_ms)).collect();
        table::print(&["INDEX", "PARTITION", "DOCUMENTS", "SNAPSHOT"], &rows);
        println!();
    }
    for note in notes(found, outcomes, now_ms) {
        println!("{note}");
    }
    let documents: u64 = there.iter().map(|life| life.documents()).sum();
    match (there.len(), lives.len()) {
        (_, 0) => println!("The store at {url} has no snapshots: there is nothing to restore."),
        (restored, all) => println!("{restored} of {all} indexes are restored from {url}, with {documents} documents."),
    }
    if there.len() < lives.len() {
        println!("The store stays with its former catalog, and workers do not use it, until all are: run this again.");
    } else if !lives.is_empty() {
        println!("Writes after these snapshots were in the lost logs and are not in them: publish them again.");
        println!("Now start Warren with this store; `warren status` shows how far the workers are.");
    }
}

fn rows(life: &Life, now_ms: u64) -> impl Iterator<Item = Vec<String>> {
    life.partitions.iter().zip(0_u32..).map(move |(snapshot, partition)| {
        let (documents, taken) = match snapshot {
            Some(snapshot) => (snapshot.documents.to_string(), format!("{} old", age(now_ms, snapshot.taken_ms))),
            None => ("-".to_owned(), "no snapshot: empty".to_owned()),
        };
        vec![life.index.name.to_string(), partition.to_string(), documents, taken]
    })
}

/// A line for each index of which there is something to be said.
fn notes(found: &BTreeMap<IndexName, Found>, outcomes: &BTreeMap<IndexName, Outcome>, now_ms: u64) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, Found { newest, older, unreadable }) in found {
        match outcomes.get(name) {
            Some(Outcome::WasThere) => notes.push(format!("{name}: was there already.")),
            Some(Outcome::Failed(error)) => notes.push(format!("{name}: NOT restored: {error}.")),
            Some(Outcome::Restored) | None => {}
        }
        let newer = newest.as_ref().map_or(0, Life::taken_ms);
        for life in older {
            notes.push(format!(
                "{name}: an index of that name with {} documents was left out: its newest snapshot is {} old, the other's {}.",
                life.documents(),
                age(now_ms, life.taken_ms()),
                age(now_ms, newer)
            ));
            let lacking = newest.as_ref().map_or_else(Vec::new, |newest| only_in(life, newest));
            if !lacking.is_empty() {
                notes.push(format!(
                    "{name}: what was left out has snapshots of partitions that have none now: {}.",
                    lacking.join(", ")
                ));
            }
        }
        for index in unreadable {
            notes.push(format!("{name}: NOT restored: no manifest in the folder {index} can be read."));
        }
    }
    notes
}

/// The partitions of which `life` has a snapshot and `other` has none.
fn only_in(life: &Life, other: &Life) -> Vec<String> {
    let has = |life: &Life, number: usize| life.partitions.get(number).is_some_and(Option::is_some);
    (0..other.partitions.len())
        .filter(|number| has(life, *number) && !has(other, *number))
        .map(|number| number.to_string())
        .collect()
}

/// How long ago something was, in its largest unit.
fn age(now_ms: u64, then_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_in_units_for_people() {
        let minute = 60_000;
        let ages = [0, 119_999, 2 * minute, 119 * minute, 120 * minute, 47 * 60 * minute, 49 * 60 * minute];
        let said = ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 days"];
        assert_eq!(ages.map(|ms| age(1_000_000_000, 1_000_000_000 - ms)), said);
        assert_eq!(age(0, 1), "0 s", "a clock that is behind");
    }
}
