//! Publishing faster than the system indexes, over HTTP and through the intake queue, while the worker stands still most of the
//! time: memory must stay flat, refusals be clear, and everything that was confirmed be found in the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use warren_protocol::ports::{Message, Ports, QueueName};
use warren_tests::{Api, http, ledger, memory};

use crate::trial::{RECOVERY, Roles, Trial};
use crate::{figures, process};

/// Of each such time, the worker runs for a part.
const CYCLE: Duration = Duration::from_millis(500);
const SAMPLE: Duration = Duration::from_millis(250);
/// Before a refused publisher comes again: what `Retry-After` says, in seconds, becomes this much.
const PAUSE: Duration = Duration::from_millis(200);
/// A publisher of the queue keeps so many messages unconfirmed.
const QUEUE_WINDOW: usize = 64;
/// Of each publisher, so many documents are read one by one in the end; the others are counted.
const LOOKED_AT: u64 = 200;

/// What is deployed and published.
#[derive(Args, Debug)]
pub(crate) struct OverloadArgs {
    /// How long to publish
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Publishers over HTTP
    #[arg(long, default_value_t = 4)]
    http: usize,
    /// Publishers through the intake queue
    #[arg(long, default_value_t = 2)]
    queue: usize,
    /// Documents of one HTTP request
    #[arg(long, default_value_t = 500)]
    batch: usize,
    /// The part of the time that the worker runs, in percent
    #[arg(long, default_value_t = 20)]
    worker_percent: u64,
    /// The size of each partition's log
    #[arg(long, default_value_t = 64)]
    log_mib: u64,
}

/// One publisher's documents: their ids are `{name}-{number}`, from 0 on without a gap.
struct Published {
    name: String,
    /// So many are confirmed.
    confirmed: u64,
    /// So many were sent at least once.
    tried: u64,
}

/// What all publishers share.
struct Load {
    stop: CancellationToken,
    refusals: Mutex<BTreeMap<String, u64>>,
    confirmed: AtomicU64,
    longest: Mutex<Duration>,
}

pub(crate) async fn run(args: &OverloadArgs) -> Result<()> {
    let roles = Roles { producers: 1, workers: 1, queries: 1 };
    let definition = json!({"partitions": 2, "log_max_bytes": args.log_mib << 20});
    let trial = Trial::start(roles, Duration::from_secs(2), &definition).await?;
    let producer = trial.stack.producers[0].api()?.clone();
    let settings = warren_broker::Settings { url: Some(trial.stack.deployment.url().to_owned()), ..Default::default() };
    let client = warren_broker::connect(&settings, "overload", std::path::Path::new(".")).await?;

    let load = Arc::new(Load {
        stop: CancellationToken::new(),
        refusals: Mutex::default(),
        confirmed: AtomicU64::new(0),
        longest: Mutex::default(),
    });
    let mut publishers = JoinSet::new();
    for number in 0..args.http {
        publishers.spawn(over_http(load.clone(), producer.clone(), trial.stack.index.clone(), format!("h{number}"), args.batch));
    }
    for number in 0..args.queue {
        publishers.spawn(through_the_queue(load.clone(), client.ports.clone(), trial.stack.index.clone(), format!("q{number}")));
    }
    let mut memory = Memory::of(&trial)?;
    let began = Instant::now();
    let end = began + Duration::from_secs(args.seconds);
    let worker = trial.stack.workers[0].id()?;
    let slowed = load.stop.clone();
    let slowing = async { slow_down(worker, args.worker_percent, &slowed).await };
    let watching = async {
        while Instant::now() < end {
            memory.sample()?;
            sleep(SAMPLE).await;
        }
        load.stop.cancel();
        Ok::<(), anyhow::Error>(())
    };
    let ((), ()) = tokio::try_join!(slowing, watching)?;
    println!("published for {:.0} s, faster than the worker indexed: {} confirmed", began.elapsed().as_secs_f64(), load.all());
    let mut published = Vec::new();
    while let Some(ended) = publishers.join_next().await {
        published.push(ended??);
    }
    println!("refusals: {}", figures::causes(&load.refusals.lock().unwrap_or_else(PoisonError::into_inner)));
    println!("longest answer: {:.1} s", load.longest.lock().unwrap_or_else(PoisonError::into_inner).as_secs_f64());
    memory.print();

    let drained = Instant::now();
    all_is_found(trial.stack.query()?, &trial.stack.index, &published).await?;
    println!("everything confirmed was found {:.1} s after the end", drained.elapsed().as_secs_f64());
    client.close().await;
    memory.check()?;
    ensure!(load.all() > 0, "nothing was confirmed");
    trial.succeed()
}

impl Load {
    fn refused(&self, cause: String) {
        *self.refusals.lock().unwrap_or_else(PoisonError::into_inner).entry(cause).or_default() += 1;
    }

    fn answered(&self, documents: u64, took: Duration) {
        self.confirmed.fetch_add(documents, Ordering::Relaxed);
        let mut longest = self.longest.lock().unwrap_or_else(PoisonError::into_inner);
        *longest = took.max(*longest);
    }

    fn all(&self) -> u64 {
        self.confirmed.load(Ordering::Relaxed)
    }
}

/// A document that compresses as texts do.
fn document(name: &str, number: u64) -> Value {
    let mut random = fastrand::Rng::with_seed(number);
    let words: Vec<String> = (0..6).map(|_| ledger::text(&mut random)).collect();
    let padding: String = (0..200).map(|_| random.alphanumeric()).collect();
    json!({"id": format!("{name}-{number}"), "text": words.join(" "), "padding": padding})
}

async fn over_http(load: Arc<Load>, producer: Api, index: String, name: String, batch: usize) -> Result<Published> {
    let mut published = Published { name, confirmed: 0, tried: 0 };
    while !load.stop.is_cancelled() {
        let numbers = published.confirmed..published.confirmed + batch as u64;
        published.tried = published.tried.max(numbers.end);
        let body: String = numbers.map(|number| format!("{}\n", document(&published.name, number))).collect();
        loop {
            let request = producer.request(Method::POST, &format!("/indexes/{index}/documents"));
            let asked = Instant::now();
            let answered = http::answer(request.header("content-type", "application/x-ndjson").body(body.clone())).await;
            let cause = match answered {
                Ok((202, answer)) if answer["accepted"] == batch => {
                    load.answered(batch as u64, asked.elapsed());
                    published.confirmed += batch as u64;
                    break;
                }
                Ok((status, answer)) => format!("HTTP {status} {}", answer["code"].as_str().unwrap_or("not all accepted")),
                Err(error) => format!("HTTP without an answer: {}", error.root_cause()),
            };
            load.refused(cause);
            if load.stop.is_cancelled() {
                return Ok(published);
            }
            sleep(PAUSE).await;
        }
    }
    Ok(published)
}

/// Publishes windows of messages; the queue's refusals are repeated until they are confirmed.
async fn through_the_queue(load: Arc<Load>, ports: Ports, index: String, name: String) -> Result<Published> {
    let mut published = Published { name, confirmed: 0, tried: 0 };
    while !load.stop.is_cancelled() {
        let mut open: Vec<u64> = (published.confirmed..published.confirmed + QUEUE_WINDOW as u64).collect();
        published.tried = published.confirmed + QUEUE_WINDOW as u64;
        while !open.is_empty() {
            let asked = Instant::now();
            let sent = open.iter().map(|number| {
                let document = document(&published.name, *number);
                let message = Message { body: document.to_string().into(), routing_key: index.clone(), ..Message::default() };
                let (number, queue) = (*number, &ports.queue);
                async move { (number, queue.publish(QueueName::Intake, message).await) }
            });
            let mut refused = Vec::new();
            for (number, outcome) in futures_util::future::join_all(sent).await {
                match outcome {
                    Ok(()) => load.answered(1, asked.elapsed()),
                    Err(error) => {
                        load.refused(format!("queue: {error}"));
                        refused.push(number);
                    }
                }
            }
            open = refused;
            if !open.is_empty() {
                if load.stop.is_cancelled() {
                    // What is open has a gap before it: only what comes before counts as confirmed.
                    published.confirmed = open[0];
                    return Ok(published);
                }
                sleep(PAUSE).await;
            }
        }
        published.confirmed += QUEUE_WINDOW as u64;
    }
    Ok(published)
}

/// Lets a process run for a part of the time only, until it is stopped; then it runs again.
async fn slow_down(process: u32, percent: u64, stop: &CancellationToken) -> Result<()> {
    let runs = CYCLE * u32::try_from(percent.min(100))? / 100;
    while !stop.is_cancelled() {
        sleep(runs).await;
        process::signal(process, "STOP")?;
        sleep(CYCLE - runs).await;
        process::signal(process, "CONT")?;
    }
    Ok(())
}

/// Waits until the count of documents lies between what is confirmed and what was tried, then reads some of each publisher's.
async fn all_is_found(query: &Api, index: &str, published: &[Published]) -> Result<()> {
    let confirmed: u64 = published.iter().map(|published| published.confirmed).sum();
    let tried: u64 = published.iter().map(|published| published.tried).sum();
    let (mut before, mut unchanged) = (0, Instant::now());
    loop {
        // The worker may be busy beyond a search's deadline: then it is asked again.
        let found = query.count(index).await.unwrap_or(before);
        if found >= confirmed {
            ensure!(found <= tried, "{found} are found, {tried} were published");
            break;
        }
        if found != before {
            (before, unchanged) = (found, Instant::now());
        }
        ensure!(unchanged.elapsed() < RECOVERY, "{found} of {confirmed} are found, and it are no more since {RECOVERY:?}");
        sleep(SAMPLE).await;
    }
    for Published { name, confirmed, .. } in published {
        let step = confirmed.div_ceil(LOOKED_AT).max(1);
        for number in (0..*confirmed).step_by(usize::try_from(step)?).chain(confirmed.checked_sub(1)) {
            let (status, found) = query.get(&format!("/indexes/{index}/documents/{name}-{number}")).await?;
            ensure!(status == 200 && found == document(name, number), "{name}-{number} was confirmed: {status}: {found}");
        }
    }
    println!("confirmed {confirmed}, tried {tried}");
    Ok(())
}

/// The memory of all processes, sampled.
struct Memory {
    processes: Vec<(String, u32, Vec<u64>)>,
}

impl Memory {
    fn of(trial: &Trial) -> Result<Self> {
        let mut processes = vec![("RabbitMQ".to_owned(), trial.stack.deployment.node().process()?, Vec::new())];
        let members = trial.stack.producers.iter().chain(&trial.stack.workers).chain(&trial.stack.queries);
        for member in members {
            processes.push((member.name.clone(), member.id()?, Vec::new()));
        }
        Ok(Self { processes })
    }

    fn sample(&mut self) -> Result<()> {
        for (name, process, samples) in &mut self.processes {
            samples.push(memory(*process).with_context(|| name.clone())?.anonymous);
        }
        Ok(())
    }

    /// The most of each quarter of the time, without mapped files.
    fn quarters(samples: &[u64]) -> Vec<u64> {
        samples.chunks(samples.len().div_ceil(4).max(1)).map(|part| part.iter().max().copied().unwrap_or(0)).collect()
    }

    fn print(&self) {
        println!("memory in MiB, without mapped files, the most of each quarter of the time:");
        for (name, _, samples) in &self.processes {
            println!("  {name:16} {:?}", Self::quarters(samples));
        }
    }

    /// Flat: the last quarter has hardly more than the second, in which every buffer is full.
    fn check(&self) -> Result<()> {
        for (name, _, samples) in &self.processes {
            let quarters = Self::quarters(samples);
            if let [_, second, .., last] = quarters[..] {
                ensure!(last <= second * 5 / 4 + 64, "the memory of {name} grows: {quarters:?} MiB");
            }
        }
        Ok(())
    }
}
