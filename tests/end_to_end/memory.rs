//! What processes hold in memory, whatever comes.

use anyhow::{Result, ensure};
use serde_json::json;
use warren_protocol::ports::Message;
use warren_tests::memory;

use crate::Deployment;
use crate::foreign_clients::{Client, letters};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_large_messages_takes_no_more_than_its_bound() -> Result<()> {
    const LARGE: usize = 80;
    const SIZE: usize = 4 * MIB;
    let mut deployment = Deployment::new().await?;
    let query = deployment.serve("query-service", &[]).await?;
    let _worker = deployment.start("worker", &[])?;
    query.create("files", &json!({"partitions": 2, "dynamic": false})).await?;
    let client = Client::connect(deployment.url()).await?;
    // All of it waits when the producer comes, which would prefetch a thousand messages of any size.
    let body = |number: usize| {
        let padding: String = (0..SIZE).map(|_| fastrand::alphanumeric()).collect();
        json!({"id": format!("large-{number}"), "padding": padding}).to_string()
    };
    for number in 0..LARGE {
        client.send("files", Message { body: body(number).into(), ..Message::default() }).await?;
        client.document("files", &json!({"id": format!("small-{number}")})).await?;
    }
    let producer = deployment.serve("producer", &[("WARREN__PRODUCER__BUFFER_BYTES", &(16 * MIB).to_string())]).await?;
    query.found("files", LARGE * 2).await?;
    letters(&query, "", 0).await?;
    // In hand and on its way; without the bound, all 320 MiB at once.
    let most = memory(producer.program.id())?.peak as usize;
    println!("{most} MiB at most");
    ensure!(most < 200, "{most} MiB at most");
    let _: () = client.close().await;
    Ok(())
}
