//! The whole pipeline: `warren publish` into the logs of a broker, workers, a query service; until all is found.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use warren_tests::{Memory, memory};

use crate::{Input, process, report};

const INDEX: &str = "bench";
const POLL: Duration = Duration::from_millis(20);
const START: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(600);

/// A program of Warren's; killed at the end.
struct Program {
    name: String,
    process: Child,
}

impl Program {
    fn start(name: &str, label: String, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        let path = std::env::current_exe()?.with_file_name(name);
        let mut command = Command::new(&path);
        command.args(arguments).envs(environment.iter().copied()).env("WARREN__LOG__LEVEL", "warn").stdin(Stdio::null());
        let process = command.spawn().with_context(|| format!("{}: build all programs first", path.display()))?;
        Ok(Self { name: label, process })
    }

    fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Publishes the file, waits until all documents are found, and prints what it took, process by process.
pub(crate) async fn run(input: &Input, broker: &str, broker_pid: Option<u32>, workers: usize) -> Result<()> {
    // An error means that there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
    let folder = tempfile::tempdir()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let server = format!("http://127.0.0.1:{port}");
    let listen = format!("127.0.0.1:{port}");
    let common = |name: &str| -> Result<Vec<(&'static str, String)>> {
        let data: PathBuf = folder.path().join(name);
        let data = data.to_str().context("the folder's name is text")?.to_owned();
        Ok(vec![("WARREN__BROKER__URL", broker.to_owned()), ("WARREN__DATA_DIR", data), ("WARREN__HTTP__LISTEN", listen.clone())])
    };
    let mut programs = Vec::new();
    let start = |name: &str, label: String| -> Result<Program> {
        let environment = common(&label)?;
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Program::start(name, label, &[], &environment)
    };
    programs.push(start("query-service", "query-service".to_owned())?);
    ready(&client, &server).await?;
    let created = client.put(format!("{server}/indexes/{INDEX}")).json(&input.definition()?).send().await?;
    ensure!(created.status() == 201, "the broker must have no index {INDEX} yet: {}", created.text().await?);
    for number in 1..=workers {
        programs.push(start("worker", format!("worker-{number}"))?);
    }
    let broker_cpu = |pid: Option<u32>| pid.map_or(Ok(Duration::ZERO), process::cpu);
    let broker_before = broker_cpu(broker_pid)?;
    let before = total_cpu(&programs)?;

    let began = Instant::now();
    let file = input.documents.to_str().context("the file's name is text")?;
    let publish =
        Program::start("warren", "warren publish".to_owned(), &["publish", "--broker", broker, "--index", INDEX, file], &[])?;
    programs.push(publish);
    let (mut published, mut publisher) = (None, (Duration::ZERO, 0));
    let mut samples: Vec<Vec<u64>> = vec![Vec::new(); programs.len() - 1];
    let documents = loop {
        ensure!(began.elapsed() < PATIENCE, "not all was found within {PATIENCE:?}");
        let publishing = programs.last_mut().context("it was just started")?;
        if published.is_none() {
            match publishing.process.try_wait()? {
                Some(status) => {
                    ensure!(status.success(), "warren publish: {status}");
                    published = Some((began.elapsed(), crate::lines(&input.documents)?.count() as u64));
                }
                // Between the two looks it may have ended: then the last ones stand.
                None => {
                    if let (Ok(cpu), Ok(Memory { peak, .. })) = (process::cpu(publishing.id()), memory(publishing.id())) {
                        publisher = (cpu, peak);
                    }
                }
            }
        }
        for (program, samples) in programs.iter().zip(&mut samples) {
            samples.push(memory(program.id())?.anonymous);
        }
        if let Some((_, documents)) = published
            && found(&client, &server).await? == documents
        {
            break documents;
        }
        tokio::time::sleep(POLL).await;
    };
    let wall = began.elapsed();
    programs.pop();

    let own = total_cpu(&programs)? - before + publisher.0;
    let all = own + (broker_cpu(broker_pid)? - broker_before);
    report(&format!("publish → searchable, {workers} worker(s)"), documents, wall, all);
    if let Some((published, _)) = published {
        println!("  confirmed after {:.2} s; of the CPU, the broker {:.2} s", published.as_secs_f64(), (all - own).as_secs_f64());
    }
    println!("  warren publish: CPU {:.2} s, peak memory {} MiB", publisher.0.as_secs_f64(), publisher.1);
    for (program, samples) in programs.iter().zip(&samples) {
        let (Memory { peak, .. }, cpu) = (memory(program.id())?, process::cpu(program.id())?);
        let quarter = samples.len().div_ceil(4).max(1);
        let quarters: Vec<_> = samples.chunks(quarter).map(|part| part.iter().max().copied().unwrap_or(0)).collect();
        let name = &program.name;
        println!(
            "  {name}: CPU {:.2} s, peak memory {peak} MiB, without mapped files by quarters {quarters:?}",
            cpu.as_secs_f64()
        );
    }
    Ok(())
}

fn total_cpu(programs: &[Program]) -> Result<Duration> {
    programs.iter().map(|program| process::cpu(program.id())).sum()
}

async fn ready(client: &reqwest::Client, server: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        match client.get(format!("{server}/readyz")).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            other if began.elapsed() > START => bail!("the query service is not ready: {other:?}"),
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// How many documents a search finds; those of a partition that does not answer yet are missing.
async fn found(client: &reqwest::Client, server: &str) -> Result<u64> {
    let answer = client.get(format!("{server}/indexes/{INDEX}/search?q=*&limit=0")).send().await?;
    let answer: Value = answer.json().await?;
    Ok(answer["total"]["value"].as_u64().unwrap_or(0))
}
