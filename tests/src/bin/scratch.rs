//! scratch
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use anyhow::Result;
use futures_util::StreamExt;
use warren_broker::{Settings, connect};
use warren_protocol::ports::*;
use warren_protocol::partition::PartitionId;
use warren_protocol::{Generation, IndexName, IndexRef};
fn log(n: u32) -> LogName { LogName::Partition(PartitionId { index: IndexRef { name: IndexName::new("s").unwrap(), generation: Generation(1) }, partition: n }) }
fn rss() -> String { std::fs::read_to_string("/proc/self/status").unwrap().lines().filter(|l| l.starts_with("VmRSS") || l.starts_with("VmHWM")||l.starts_with("RssAnon")).collect::<Vec<_>>().join(" ") }
#[tokio::main]
async fn main() -> Result<()> {
    let a: Vec<String> = std::env::args().collect();
    if a[1] == "hang" {
        let node = warren_tests::Node::start().await?;
        let dir = tempfile::tempdir()?;
        for round in 0..8u32 {
            let vhost = node.vhost().await?;
            let s = Settings { url: Some(node.url(&vhost)), ..Settings::default() };
            let b = connect(&s, "x", dir.path()).await?;
            let l = &b.ports.log;
            l.create(&log(round), LogLimits { max_bytes: Some(2_000_000) }).await?;
            let mut c = vec![];
            for n in 0..100u8 { c.push(l.append(&log(round), vec![n; 60_000].into()).await?); }
            for c in c { c.await?; }
            let t = Instant::now();
            let mut f = l.follow(&log(round), FollowFrom::Start).await?;
            let first = tokio::time::timeout(Duration::from_secs(4), f.next()).await;
            println!("round {round}: first {:?} after {:?}", first.map(|x| x.map(|x| x.map(|e| (e.position, e.message[0])))), t.elapsed());
            let mut g = l.follow(&log(round), FollowFrom::Start).await?;
            let second = tokio::time::timeout(Duration::from_secs(4), g.next()).await;
            println!("   second follower {:?}", second.map(|x| x.map(|x| x.map(|e| (e.position, e.message[0])))));
            if let Err(_) = tokio::time::timeout(Duration::from_millis(10), f.next()).await { println!("   the first is still silent after {:?}", t.elapsed()); }
            println!("   last {:?}", l.last(&log(round)).await);
            drop((f, g));
            b.close().await;
        }
        return Ok(());
    }
    let t = Instant::now();
    let dir = std::path::Path::new(&a[2]);
    let b = connect(&Settings::default(), "x", dir).await?;
    println!("open {:?} {}", t.elapsed(), rss());
    let l = &b.ports.log;
    if a[1] == "speed" {
        l.create(&log(0), LogLimits { max_bytes: Some(200_000_000) }).await?;
        for (size, count) in [(1000usize, 300_000usize), (100_000, 6000)] {
            let body: bytes::Bytes = (0..size).map(|i| (i * 7919 % 251) as u8).collect::<Vec<_>>().into();
            let t = Instant::now();
            let mut w = VecDeque::new();
            for _ in 0..count {
                w.push_back(l.append(&log(0), body.clone()).await?);
                if w.len() > 1000 { w.pop_front().unwrap().await?; }
            }
            for c in w { c.await?; }
            println!("{count} x {size}: {:?}, {:.0}/s {}", t.elapsed(), count as f64 / t.elapsed().as_secs_f64(), rss());
        }
        let t = Instant::now();
        for _ in 0..5000 { l.append(&log(0), "x".into()).await?.await?; }
        println!("one by one: {:?} each", t.elapsed() / 5000);
        let t = Instant::now();
        let last = l.last(&log(0)).await?.unwrap();
        let mut f = l.follow(&log(0), FollowFrom::Start).await?;
        let (mut n, mut bytes) = (0, 0);
        loop { let e = f.next().await.unwrap()?; n += 1; bytes += e.message.len(); if e.position == last { break } }
        println!("read {n}, {bytes} bytes in {:?} {}", t.elapsed(), rss());
        std::process::abort();
    }
    if a[1] == "idle" { tokio::time::sleep(Duration::from_secs(3)).await; println!("idle {}", rss()); let t = Instant::now(); b.close().await; println!("close {:?}", t.elapsed()); }
    if a[1] == "delete" { l.delete(&log(0)).await?; tokio::time::sleep(Duration::from_secs(3)).await; println!("deleted {}", rss()); b.close().await; }
    Ok(())
}
