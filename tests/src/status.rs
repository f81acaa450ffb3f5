//! `/status` as a program reads it: who holds what, and whether that is as it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{Api, eventually};

/// What `/status` says of one index.
#[derive(Clone, Debug)]
pub struct Status {
    workers: u64,
    /// How long ago the worker was heard that has been silent longest.
    oldest: Duration,
    partitions: Vec<Vec<Replica>>,
}

/// One worker's copy of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Who has it.
    pub worker: String,
    /// Its number, if that is told.
    pub number: Option<u64>,
    /// Whether the worker holds its slot.
    pub held: bool,
    /// Whether it answers searches, and follows the log.
    pub serving: bool,
    /// The last place of the log that is in it.
    pub position: Option<String>,
    /// How many documents it has.
    pub documents: u64,
    /// The bytes of the log that are in it.
    pub log_bytes: u64,
    /// What has stopped it, or what it has lost.
    pub trouble: Option<String>,
}

impl Status {
    /// Asks a query service about an index.
    pub async fn of(api: &Api, index: &str) -> Result<Self> {
        let (status, answer) = api.get("/status").await?;
        ensure!(status == 200, "{status}: {answer}");
        Self::read(&answer, index)
    }

    fn read(answer: &Value, index: &str) -> Result<Self> {
        let index = list(&answer["indexes"]).find(|one| one["name"] == index).with_context(|| format!("{answer}"))?;
        let partitions = list(&index["partitions"]).map(|partition| list(&partition["replicas"]).map(Replica::read).collect());
        let workers = answer["workers"].as_u64().or_else(|| Some(answer["workers"].as_array()?.len() as u64));
        let oldest = list(&answer["workers"]).filter_map(|worker| worker["heard_ms"].as_u64()).max();
        let oldest = oldest.map_or(Duration::MAX, Duration::from_millis);
        Ok(Self { workers: workers.context("no workers")?, oldest, partitions: partitions.collect() })
    }

    /// How many workers are alive.
    pub fn workers(&self) -> u64 {
        self.workers
    }

    /// Whether all workers have spoken within that time.
    pub fn is_younger_than(&self, age: Duration) -> bool {
        self.oldest < age
    }

    /// The copies of each partition.
    pub fn partitions(&self) -> &[Vec<Replica>] {
        &self.partitions
    }

    /// How many partitions have nobody who serves them.
    pub fn unserved(&self) -> usize {
        self.partitions.iter().filter(|replicas| !replicas.iter().any(|replica| replica.serving)).count()
    }

    /// How many slots each worker holds.
    pub fn held(&self) -> BTreeMap<&str, usize> {
        let mut held = BTreeMap::new();
        for replica in self.partitions.iter().flatten().filter(|replica| replica.held) {
            *held.entry(replica.worker.as_str()).or_default() += 1;
        }
        held
    }

    /// Whether each partition has so many replicas, all of them held and serving, and no other copies.
    pub fn whole(&self, replicas: usize) -> Result<()> {
        for (partition, copies) in self.partitions.iter().enumerate() {
            let workers: BTreeSet<_> = copies.iter().map(|copy| &copy.worker).collect();
            let numbers: BTreeSet<_> = copies.iter().map(|copy| copy.number).collect();
            let all = copies.iter().all(|copy| copy.held && copy.serving && copy.trouble.is_none());
            let told = copies.iter().all(|copy| copy.number.is_some());
            let distinct = workers.len() == replicas && (numbers.len() == replicas || !told);
            ensure!(all && copies.len() == replicas && distinct, "partition {partition}: {copies:?}");
        }
        Ok(())
    }

    /// Whether it is whole, and no worker of so many holds more than one slot more than another.
    pub fn balanced(&self, replicas: usize, workers: usize) -> Result<()> {
        self.whole(replicas)?;
        let held = self.held();
        let most = held.values().max().copied().unwrap_or(0);
        let least = if held.len() == workers { held.values().min().copied().unwrap_or(0) } else { 0 };
        ensure!(held.len() <= workers && most - least <= 1, "{workers} workers hold {held:?}");
        Ok(())
    }

    /// How many documents are in each partition, if all its copies agree on that, and on the place in the log.
    pub fn documents(&self) -> Result<u64> {
        let mut sum = 0;
        for (partition, copies) in self.partitions.iter().enumerate() {
            let first = copies.first().with_context(|| format!("nobody has partition {partition}"))?;
            let same = copies.iter().all(|copy| (copy.documents, &copy.position) == (first.documents, &first.position));
            ensure!(same, "the copies of partition {partition} differ: {copies:?}");
            sum += first.documents;
        }
        Ok(sum)
    }
}

impl Replica {
    fn read(value: &Value) -> Self {
        Self {
            worker: value["worker"].as_str().unwrap_or_default().to_owned(),
            number: value["replica"].as_u64(),
            held: value["held"].as_bool().unwrap_or(true),
            serving: value["state"] == "serving",
            position: value["position"].as_str().map(str::to_owned),
            documents: value["documents"].as_u64().unwrap_or(0),
            log_bytes: value["log_bytes"].as_u64().unwrap_or(0),
            trouble: value["lost"].as_str().or_else(|| value["error"].as_str()).map(str::to_owned),
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Waits until the status of an index is as wanted, and gives it.
pub async fn until(
    api: &Api,
    index: &str,
    what: &str,
    limit: Duration,
    wanted: impl Fn(&Status) -> Result<()>,
) -> Result<Status> {
    let asked = Instant::now();
    eventually(what, limit, async || {
        // What a worker said before, which may be dead by now, is no answer.
        let age = asked.elapsed();
        let status = Status::of(api, index).await?;
        ensure!(status.is_younger_than(age), "not every worker has spoken since");
        wanted(&status)?;
        Ok(status)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn replica(worker: &str, number: u64) -> Value {
        json!({"worker": worker, "replica": number, "held": true, "state": "serving", "position": "7", "documents": 5})
    }

    fn status(partitions: &[Vec<Value>]) -> Status {
        let partitions: Vec<_> = partitions.iter().map(|replicas| json!({"replicas": replicas})).collect();
        Status::read(&json!({"workers": 2, "indexes": [{"name": "a", "partitions": partitions}]}), "a").unwrap()
    }

    #[test]
    fn what_is_not_whole_or_not_balanced_is_told() {
        let pair = || vec![replica("x", 0), replica("y", 1)];
        let good = status(&[pair(), pair()]);
        good.balanced(2, 2).unwrap();
        assert_eq!((good.documents().unwrap(), good.unserved()), (10, 0));
        good.balanced(2, 3).unwrap_err();
        good.whole(1).unwrap_err();
        for (key, value) in [("held", json!(false)), ("state", json!("catching_up")), ("replica", json!(0)), ("lost", json!("x"))]
        {
            let mut bad = pair();
            bad[1][key] = value;
            status(&[pair(), bad]).whole(2).unwrap_err();
        }
        assert_eq!(status(&[pair(), vec![]]).unserved(), 1);
        let mut late = pair();
        late[0]["documents"] = json!(4);
        status(&[late]).documents().unwrap_err();
        let one = |worker| vec![replica(worker, 0)];
        status(&[one("x"), one("x"), one("x"), one("y")]).balanced(1, 2).unwrap_err();
        status(&[one("x"), one("x"), one("y")]).balanced(1, 2).unwrap();
    }
}
