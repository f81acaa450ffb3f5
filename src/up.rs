//! `warren up`: every role in one process, behind one address.

use warren_producer::Producer;
use warren_protocol::ports::Ports;
use warren_query_service::{ClientSearches, QueryService};
use warren_service::catalog::CatalogHandle;
use warren_service::config::Config;
use warren_service::http;
use warren_service::roster::Roster;
use warren_service::stop::Stop;
use warren_worker::Worker;

use crate::sample;

/// Runs producer, worker and query service until `stop`; loads the sample first if asked to.
pub(crate) async fn run(config: Config, ports: Ports, stop: Stop, with_sample: bool) -> anyhow::Result<()> {
    let listener = http::bind(&config.http, warren_query_service::DEFAULT_LISTEN, &config.auth).await?;
    let address = listener.local_addr()?;
    let catalog = CatalogHandle::start(&ports).await?;
    let roster = Roster::start(&ports, &stop).await?;
    // The worker stops last: searches that are under way need it.
    let worker_stop = Stop::new();
    let worker = Worker::start(&config, &ports, catalog.clone(), &worker_stop).await?;
    let producer = Producer::start(&config, &ports, catalog.clone(), &roster, &stop);
    let query = QueryService::new(&config, &ports, catalog.clone(), roster.clone());
    let clients = ClientSearches::start(query.clone(), &config, &stop);
    let api = warren_query_service::api(query).merge(warren_producer::http::api(producer.clone()));
    let router = http::finish(api, catalog.readiness());

    let greeting = async {
        if with_sample {
            sample::load(&producer, &roster, &config.data_dir).await?;
        }
        greet(address, with_sample);
        std::future::pending::<anyhow::Result<()>>().await
    };
    let served = tokio::select! {
        served = http::serve(listener, router, &config, &stop) => served,
        failed = greeting => failed,
    };
    stop.request();
    clients.stopped().await;
    producer.close().await;
    worker_stop.request();
    worker.stopped().await?;
    served
}

fn greet(address: std::net::SocketAddr, with_sample: bool) {
    println!("Warren listens on http://{address}");
    if with_sample {
        println!("Search as you type: http://{address}/?index={}", sample::INDEX);
        println!("Or: curl '{address}/indexes/{}/search?q=web+server'", sample::INDEX);
    } else {
        println!("Publish: warren publish --index NAME FILE…   Search: http://{address}/");
    }
    println!("Ctrl-C stops it.");
}
