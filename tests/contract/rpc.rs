//! Calls.

use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::{StreamExt, future};
use warren_protocol::ports::{ClientReply, ClientRequest, RpcError, RpcTarget, SearchRpc, WorkerId};
use warren_tests::{eventually, within};

use crate::World;
use crate::world::{next, partition, silent};

crate::promises!(
    a_call_is_answered,
    servers_of_a_partition_compete,
    what_a_dead_server_held_goes_to_another_marked,
    a_dropped_call_goes_to_another_server,
    a_deadly_request_takes_two_servers_at_most,
    a_call_ends_at_its_deadline,
    nobody_listens_where_nothing_was_created,
    a_worker_is_asked_by_name,
    a_server_has_no_more_calls_than_it_takes,
    creating_and_deleting_can_be_repeated,
    what_a_client_asks_is_answered_by_one_of_those_that_serve_clients,
    what_a_dead_server_held_of_clients_goes_to_one_other,
    a_client_awaits_no_answer_beyond_its_deadline,
);

fn target() -> RpcTarget {
    RpcTarget::Partition(partition(0))
}

fn concurrency(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("more than 0")
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(8)
}

async fn call(rpc: &dyn SearchRpc, request: impl Into<Bytes>) -> Result<Bytes, RpcError> {
    rpc.call(&target(), request.into(), soon()).await
}

async fn a_call_is_answered(world: &World) -> Result<()> {
    let rpc = &world.ports().rpc;
    rpc.create(&partition(0)).await?;
    let other = world.another().await?;
    let mut calls = other.ports.rpc.serve(&target(), concurrency(4)).await?;
    let serve = async {
        while let Some(call) = calls.next().await {
            assert!(!call.redelivered);
            let reply = [b"re: ".as_slice(), &call.request].concat();
            call.reply(reply.into()).await.expect("a reply");
        }
    };
    let ask = future::join_all((0..100).map(|number| async move {
        let large = format!("{number} {}", "x".repeat(number * 3000));
        (call(&**rpc, large.clone()).await, large)
    }));
    let answers = tokio::select! {
        () = serve => anyhow::bail!("the server ended"),
        answers = within("all answers", ask) => answers?,
    };
    for (answer, request) in answers {
        assert!(answer? == format!("re: {request}"), "another one's answer");
    }
    drop(calls);
    other.close().await;
    Ok(())
}

async fn servers_of_a_partition_compete(world: &World) -> Result<()> {
    let rpc = &world.ports().rpc;
    rpc.create(&partition(0)).await?;
    let mut one = rpc.serve(&target(), concurrency(1)).await?;
    let mut two = rpc.serve(&target(), concurrency(1)).await?;
    let serve = async {
        let (first, second) = tokio::join!(next(&mut one), next(&mut two));
        let (first, second) = (first?, second?);
        assert_ne!(first.request, second.request);
        first.reply("one".into()).await?;
        second.reply("two".into()).await?;
        anyhow::Ok(())
    };
    let (served, a, b) = tokio::join!(serve, call(&**rpc, "a"), call(&**rpc, "b"));
    served?;
    let mut answers = [a?, b?];
    answers.sort();
    assert_eq!(answers, ["one", "two"]);
    Ok(())
}

async fn what_a_dead_server_held_goes_to_another_marked(world: &World) -> Result<()> {
    let rpc = &world.ports().rpc;
    rpc.create(&partition(0)).await?;
    let mut dying = rpc.serve(&target(), concurrency(1)).await?;
    let serve = async {
        let held = next(&mut dying).await?;
        drop(dying);
        let mut living = rpc.serve(&target(), concurrency(1)).await?;
        let again = next(&mut living).await?;
        assert_eq!((again.redelivered, &again.request), (true, &held.request));
        again.reply("alive".into()).await?;
        anyhow::Ok(())
    };
    let (served, answer) = tokio::join!(serve, call(&**rpc, "x"));
    served?;
    assert_eq!(answer?, "alive");
    Ok(())
}

async fn a_dropped_call_goes_to_another_server(world: &World) -> Result<()> {
    let rpc = &world.ports().rpc;
    rpc.create(&partition(0)).await?;
    let mut calls = rpc.serve(&target(), concurrency(1)).await?;
    let serve = async {
        drop(next(&mut calls).await?);
        let again = next(&mut calls).await?;
        assert!(again.redelivered);
        again.reply("at last".into()).await?;
        anyhow::Ok(())
    };
    let (served, answer) = tokio::join!(serve, call(&**rpc, "x"));
    served?;
    assert_eq!(answer?, "at last");
    Ok(())
}

async fn a_deadly_request_takes_two_servers_at_most(world: &World) -> Result<()> {
    let rpc = &world.ports().rpc;
    rpc.create(&partition(0)).await?;
    let mut calls = rpc.serve(&target(), concurrency(1)).await?;
    let serve = async {
        drop(next(&mut calls).await?);
        drop(next(&mut calls).await?);
        assert!(silent(&mut calls).await, "a third server would die");
        anyhow::Ok(())
    };
    let deadline = Instant::now() + Duration::from_secs(1);
    let target = target();
    let (served, answer) = tokio::join!(serve, rpc.call(&target, "deadly".into(), deadline));
    served?;
    assert_eq!(answer, Err(RpcError::Deadline));
    Ok(())
}

async fn a_call_ends_at_its_deadline(world: &World) -> Result<()> {
    const LIMIT: Duration = Duration::from_millis(300);
    let rpc = &world.ports().rpc;
    rpc.create(&partition(0)).await?;
    let start = Instant::now();
    assert_eq!(rpc.call(&target(), "nobody serves".into(), start + LIMIT).await, Err(RpcError::Deadline));
    assert!((LIMIT..LIMIT * 3).contains(&start.elapsed()), "{:?}", start.elapsed());

    // The request that waited in vain has vanished: the server gets the next one.
    let mut calls = rpc.serve(&target(), concurrency(2)).await?;
    let (start, asked) = (Instant::now(), target());
    let (held, answer) = tokio::join!(next(&mut calls), rpc.call(&asked, "nobody answers".into(), start + LIMIT));
    assert_eq!(held?.request, "nobody answers");
    assert_eq!(answer, Err(RpcError::Deadline));
    assert!((LIMIT..LIMIT * 3).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(rpc.call(&target(), "too late".into(), Instant::now()).await, Err(RpcError::Deadline));
    Ok(())
}

async fn nobody_listens_where_nothing_was_created(world: &World) -> Result<()> {
    let rpc = &world.ports().rpc;
    let gone = RpcTarget::Worker(WorkerId::random());
    let start = Instant::now();
    for target in [target(), gone] {
        let answer = rpc.call(&target, "x".into(), soon()).await;
        assert_eq!(answer, Err(RpcError::NotFound(target.to_string())));
    }
    assert!(start.elapsed() < Duration::from_secs(2), "it is known at once, not after {:?}", start.elapsed());
    assert_eq!(rpc.serve(&target(), concurrency(1)).await.err(), Some(RpcError::NotFound(target().to_string())));
    Ok(())
}

async fn a_worker_is_asked_by_name(world: &World) -> Result<()> {
    let rpc = &world.ports().rpc;
    let [one, two] = [(); 2].map(|()| RpcTarget::Worker(WorkerId::random()));
    let other = world.another().await?;
    let mut calls_of_one = other.ports.rpc.serve(&one, concurrency(1)).await?;
    let mut calls_of_two = rpc.serve(&two, concurrency(1)).await?;
    for (target, calls) in [(&two, &mut calls_of_two), (&one, &mut calls_of_one)] {
        let serve = async {
            let call = next(calls).await?;
            call.reply(target.to_string().into()).await?;
            anyhow::Ok(())
        };
        let (served, answer) = tokio::join!(serve, rpc.call(target, "who?".into(), soon()));
        served?;
        assert_eq!(answer?, target.to_string());
    }
    drop(calls_of_one);
    other.close().await;
    eventually("the place goes with its worker", Duration::from_secs(5), async || {
        let answer = rpc.call(&one, "still there?".into(), Instant::now() + Duration::from_secs(1)).await;
        ensure!(answer == Err(RpcError::NotFound(one.to_string())), "{answer:?}");
        Ok(())
    })
    .await
}

async fn a_server_has_no_more_calls_than_it_takes(world: &World) -> Result<()> {
    let rpc = &world.ports().rpc;
    rpc.create(&partition(0)).await?;
    let mut calls = rpc.serve(&target(), concurrency(2)).await?;
    let serve = async {
        let first = next(&mut calls).await?;
        let second = next(&mut calls).await?;
        assert!(silent(&mut calls).await, "two calls are unanswered");
        first.reply("1".into()).await?;
        let third = next(&mut calls).await?;
        second.reply("2".into()).await?;
        third.reply("3".into()).await?;
        anyhow::Ok(())
    };
    let ask = future::try_join_all(["a", "b", "c"].map(|request| call(&**rpc, request)));
    let (served, answers) = tokio::join!(serve, ask);
    served?;
    let mut answers = answers?;
    answers.sort();
    assert_eq!(answers, ["1", "2", "3"]);
    Ok(())
}

async fn creating_and_deleting_can_be_repeated(world: &World) -> Result<()> {
    let rpc = &world.ports().rpc;
    rpc.delete(&partition(0)).await?;
    for _ in 0..2 {
        rpc.create(&partition(0)).await?;
        rpc.create(&partition(0)).await?;
        let mut calls = rpc.serve(&target(), concurrency(1)).await?;
        let serve = async { Ok::<_, anyhow::Error>(next(&mut calls).await?.reply("here".into()).await?) };
        let (served, answer) = tokio::join!(serve, call(&**rpc, "x"));
        served.context("the server")?;
        assert_eq!(answer?, "here");
        drop(calls);
        rpc.delete(&partition(0)).await?;
        rpc.delete(&partition(0)).await?;
        assert_eq!(call(&**rpc, "x").await, Err(RpcError::NotFound(target().to_string())));
    }
    Ok(())
}

fn question(body: &'static str) -> ClientRequest {
    ClientRequest { index: "packages".to_owned(), content_encoding: Some("utf-8".to_owned()), body: body.into() }
}

fn reply(body: &'static str) -> ClientReply {
    ClientReply { content_type: "application/json".to_owned(), body: body.into() }
}

async fn what_a_client_asks_is_answered_by_one_of_those_that_serve_clients(world: &World) -> Result<()> {
    let rpc = &world.ports().rpc;
    let other = world.another().await?;
    let mut one = rpc.serve_clients(concurrency(1)).await?;
    let mut two = other.ports.rpc.serve_clients(concurrency(1)).await?;
    let serve = async {
        let (first, second) = tokio::join!(next(&mut one), next(&mut two));
        let (first, second) = (first?, second?);
        assert_ne!(first.request, second.request);
        for call in [&first, &second] {
            assert!([question("a"), question("b")].contains(&call.request), "{:?}", call.request);
            assert_eq!((call.redelivered, &call.no_address), (false, &None));
            let left = call.deadline.context("the client awaits it until then")?.saturating_duration_since(Instant::now());
            assert!((1..=8).contains(&left.as_secs()), "{left:?}");
        }
        first.reply(reply("one")).await?;
        second.reply(reply("two")).await?;
        anyhow::Ok(())
    };
    let (served, a, b) = tokio::join!(serve, rpc.ask(question("a"), soon()), rpc.ask(question("b"), soon()));
    served?;
    let mut answers = [a?, b?];
    answers.sort_by_key(|answer| answer.body.clone());
    assert_eq!(answers, [reply("one"), reply("two")]);
    drop((one, two));
    other.close().await;
    Ok(())
}

async fn what_a_dead_server_held_of_clients_goes_to_one_other(world: &World) -> Result<()> {
    let rpc = &world.ports().rpc;
    let mut dying = rpc.serve_clients(concurrency(1)).await?;
    let serve = async {
        let held = next(&mut dying).await?;
        drop(dying);
        let mut living = rpc.serve_clients(concurrency(1)).await?;
        let again = next(&mut living).await?;
        assert_eq!((again.redelivered, &again.request), (true, &held.request));
        drop(again);
        assert!(silent(&mut living).await, "a third server would die");
        anyhow::Ok(())
    };
    let (served, answer) = tokio::join!(serve, rpc.ask(question("deadly"), Instant::now() + Duration::from_secs(2)));
    served?;
    assert_eq!(answer, Err(RpcError::Deadline));
    Ok(())
}

async fn a_client_awaits_no_answer_beyond_its_deadline(world: &World) -> Result<()> {
    let rpc = &world.ports().rpc;
    let answer = rpc.ask(question("nobody serves"), Instant::now() + Duration::from_millis(300)).await;
    assert_eq!(answer, Err(RpcError::Deadline));
    let mut calls = rpc.serve_clients(concurrency(1)).await?;
    let serve = async {
        let call = next(&mut calls).await?;
        assert_eq!(call.request.body, "discarded", "what waited in vain has vanished");
        call.discard().await?;
        let call = next(&mut calls).await?;
        assert_eq!(call.request.body, "answered", "what was discarded does not come again");
        Ok::<_, anyhow::Error>(call.reply(reply("yes")).await?)
    };
    let discarded = rpc.ask(question("discarded"), Instant::now() + Duration::from_secs(1));
    let asking = async { (discarded.await, rpc.ask(question("answered"), soon()).await) };
    let (served, (discarded, answered)) = tokio::join!(serve, asking);
    served?;
    assert_eq!((discarded, answered), (Err(RpcError::Deadline), Ok(reply("yes"))));
    Ok(())
}
