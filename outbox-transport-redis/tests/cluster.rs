//! Slots that move between the nodes of a cluster.

mod support;

use outbox_core::{PublishErrorKind, Transport};
use outbox_transport_redis::redis::cmd;
use std::time::Duration;
use support::{address, config, connection, constant, events, ids, keyed, open};
use test_servers::{Kind, Server, search_path};

const STREAM: &str = "moving";

/// Id and address of each master of the cluster.
fn nodes(url: &str) -> Vec<(String, String)> {
    let text: String = cmd("CLUSTER")
        .arg("NODES")
        .query(&mut connection(url))
        .expect("nodes");
    let node = |line: &str| {
        let mut words = line.split(' ');
        let id = words.next().expect("an id").to_owned();
        let address = words.next().expect("an address").split('@').next();
        (id, address.expect("a port").to_owned())
    };
    text.lines().map(node).collect()
}

fn ask<T: outbox_transport_redis::redis::FromRedisValue>(node: &str, words: &[&str]) -> T {
    support::send(&format!("redis://{node}/"), words)
}

/// While a slot moves, an event may be refused for the moment; the others are published in order.
#[tokio::test]
async fn events_are_published_in_order_while_their_slot_moves() {
    let cluster = Server::start(Kind::RedisCluster, &search_path()).expect("started");
    let nodes = nodes(cluster.url());
    let slot: u16 = ask(&nodes[0].1, &["CLUSTER", "KEYSLOT", STREAM]);
    let slot = slot.to_string();
    let url = format!("redis+cluster://{}", address(cluster.url()));
    let config = config(&url).stream(constant(STREAM));
    let transport = open(config.call_timeout(Duration::from_secs(20)));
    let sent = keyed(60, 3);
    let mut calls = sent.chunks(10);
    let mut publish = async |what: &str| {
        let call = calls.next().expect("a call");
        for answer in transport.publish(call).await {
            answer.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        }
    };
    publish("before").await;
    let is_owner = |node: &&(String, String)| {
        let count: u64 = support::try_send(&format!("redis://{}/", node.1), &["XLEN", STREAM])
            .unwrap_or_default();
        count > 0
    };
    let owner = nodes.iter().find(is_owner).expect("an owner");
    let target = nodes
        .iter()
        .find(|node| node.0 != owner.0)
        .expect("another node");
    ask::<()>(
        &target.1,
        &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &owner.0],
    );
    ask::<()>(
        &owner.1,
        &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target.0],
    );
    publish("with the key at the old node").await;
    let (host, port) = target.1.split_once(':').expect("a port");
    ask::<()>(&owner.1, &["MIGRATE", host, port, STREAM, "0", "5000"]);
    publish("with the key at the new node").await;
    for node in [target, owner] {
        ask::<()>(&node.1, &["CLUSTER", "SETSLOT", &slot, "NODE", &target.0]);
    }
    publish("after the move").await;
    publish("again").await;
    let other = open(support::config(&url).stream(constant(STREAM)));
    let call = calls.next().expect("a call");
    assert!(other.publish(call).await.iter().all(Result::is_ok));
    assert_eq!(ids(&events(&url, STREAM)), ids(&sent));
}

#[tokio::test]
async fn a_node_that_is_gone_pauses_only_the_streams_on_it() {
    let cluster = Server::start(Kind::RedisCluster, &search_path()).expect("started");
    // So that the other nodes answer for their slots.
    let nodes = nodes(cluster.url());
    for (_, node) in &nodes {
        ask::<()>(
            node,
            &["CONFIG", "SET", "cluster-require-full-coverage", "no"],
        );
    }
    let url = format!("redis+cluster://{}", address(cluster.url()));
    let transport = open(
        config(&url)
            .stream(constant("{type}"))
            .call_timeout(Duration::from_secs(8)),
    );
    let gone = nodes.last().expect("a node");
    let on = |node: &str, text: &str| {
        let found: Result<String, _> =
            support::try_send(&format!("redis://{node}/"), &["TYPE", text]);
        found.is_ok()
    };
    let names: Vec<String> = (0..100).map(|number| format!("type{number}")).collect();
    let lost = names
        .iter()
        .find(|name| on(&gone.1, name))
        .expect("a stream there");
    let kept = names
        .iter()
        .find(|name| !on(&gone.1, name))
        .expect("a stream elsewhere");
    let event = |name: &str| [outbox_core::Event::new(name, "x")];
    assert!(transport.publish(&event(lost)).await[0].is_ok());
    assert!(transport.publish(&event(kept)).await[0].is_ok());
    support::try_send::<()>(&format!("redis://{}/", gone.1), &["SHUTDOWN", "NOSAVE"])
        .expect_err("it closes the connection");
    let (away, there) = (event(lost), event(kept));
    let (refused, accepted) = tokio::join!(transport.publish(&away), transport.publish(&there));
    let error = refused[0].as_ref().expect_err("its node is gone");
    assert_eq!(error.kind(), PublishErrorKind::Unavailable, "{error:?}");
    assert_eq!(error.destination(), Some(&**lost));
    assert!(accepted[0].is_ok(), "{accepted:?}");
}
