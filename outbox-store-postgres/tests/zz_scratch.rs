mod support;
use outbox_core::*;
use outbox_store_postgres::sqlx::{self, Row};
use std::collections::*;
use std::time::*;
use support::{Own, each};
const LEASE: Duration = Duration::from_secs(60);

fn rss() -> String {
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    s.lines()
        .filter(|l| l.starts_with("VmHWM") || l.starts_with("VmRSS"))
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("; ")
}

async fn fill(own: &Own, n: i64, bytes: i64, key: &str) {
    let sql = format!(
        "INSERT INTO outbox.outbox_events (event_type, ordering_key, payload)
      SELECT 'x', {key}, decode(rpad('', {hex}, 'ab'), 'hex') FROM generate_series(1, {n}) AS n",
        hex = 2 * bytes
    );
    own.execute("ALTER TABLE outbox.outbox_events ALTER payload SET STORAGE EXTERNAL; ALTER TABLE outbox.outbox_retries ALTER payload SET STORAGE EXTERNAL; ALTER TABLE outbox.outbox_dead_letters ALTER payload SET STORAGE EXTERNAL").await;
    own.execute(&sql).await;
}

async fn drain(
    store: &outbox_store_postgres::PostgresOutbox,
    n: usize,
    outcome: Outcome,
) -> (usize, usize) {
    let (mut done, mut claims) = (0, 0);
    let mut longest = Duration::ZERO;
    while done < n {
        let t = Instant::now();
        let claim = store
            .claim(ClaimLimit::events(100), LEASE)
            .await
            .expect("claimed");
        longest = longest.max(t.elapsed());
        claims += 1;
        if claim.events.is_empty() {
            println!("empty at {done}");
            if claims > 1000 {
                break;
            }
            continue;
        }
        done += claim.events.len();
        let s = each(&claim, &outcome);
        drop(claim.events);
        let t = Instant::now();
        store.settle(claim.token, &s).await.expect("settled");
        longest = longest.max(t.elapsed());
    }
    println!(
        "{done} in {claims} claims, longest call {longest:?}; {}",
        rss()
    );
    (done, claims)
}

#[tokio::test]
async fn one_mb() {
    let own = Own::in_schema("outbox");
    fill(&own, 1700, 1_000_000, "NULL").await;
    let store = own.open().await;
    let t = Instant::now();
    drain(&store, 1700, Outcome::Published).await;
    println!("1700x1MB {:?}", t.elapsed());
    while store.clean_up(1000).await.unwrap() > 0 {}
    println!("cleaned {:?}", t.elapsed());
}

#[tokio::test]
async fn fifty_mb() {
    let own = Own::in_schema("outbox");
    fill(&own, 30, 50_000_000, "'k' || (n % 3)").await;
    let store = own.open().await;
    let t = Instant::now();
    drain(&store, 30, Outcome::Published).await;
    println!("30x50MB {:?}", t.elapsed());
}

#[tokio::test]
async fn dead() {
    let own = Own::in_schema("outbox");
    fill(&own, 60, 20_000_000, "NULL").await;
    let store = own.open().await;
    let t = Instant::now();
    drain(&store, 60, Outcome::Dead { reason: "x".into() }).await;
    println!("60x20MB dead {:?}", t.elapsed());
    let all = DeadLetterFilter::all();
    let t = Instant::now();
    println!(
        "list {} {:?}",
        store.list(&all, None, 1000).await.unwrap().len(),
        t.elapsed()
    );
    let t = Instant::now();
    println!(
        "stats {} {:?}",
        store.statistics(&all, 1000).await.unwrap().len(),
        t.elapsed()
    );
    let mut n = 0;
    while n < 30 {
        let t = Instant::now();
        let r = store.replay(&all, 1000).await.unwrap().len();
        n += r;
        println!("replay {r} {:?}", t.elapsed());
    }
    loop {
        let t = Instant::now();
        let r = store.purge(&all, 1000).await.unwrap().len();
        println!("purge {r} {:?}", t.elapsed());
        if r == 0 {
            break;
        }
    }
    println!("{}", rss());
}

#[tokio::test]
async fn deep() {
    for round in 0..6 {
        let own = Own::in_schema("outbox");
        own.execute("INSERT INTO outbox.outbox_events (event_type, ordering_key, payload) SELECT 'x', 'deep', '' FROM generate_series(1, 100000)").await;
        let mut few: BTreeSet<EventId> = BTreeSet::new();
        let events: Vec<Event> = (0..6)
            .map(|n| Event::new("few", "").ordering_key(format!("few {round} {n}")))
            .collect();
        few.extend(events.iter().map(|e| e.id));
        own.append(&events).await;
        let mut c = own.connect().await;
        let same: i64 = sqlx::query("SELECT count(*) FROM outbox.outbox_log WHERE event_type = 'few' AND lane = (SELECT lane FROM outbox.outbox_log WHERE ordering_key = 'deep' LIMIT 1)").fetch_one(&mut c).await.unwrap().get(0);
        let store = own.open().await;
        let t = Instant::now();
        let mut claims = 0;
        while !few.is_empty() {
            claims += 1;
            let claim = store
                .claim(ClaimLimit::events(100), LEASE)
                .await
                .expect("claimed");
            for e in &claim.events {
                few.remove(&e.event.id);
            }
            store
                .settle(claim.token, &each(&claim, &Outcome::Published))
                .await
                .expect("settled");
        }
        println!(
            "round {round}: {same} in the same lane; six published after {claims} claims, {:?}",
            t.elapsed()
        );
        // later ones, while the window is open
        let events: Vec<Event> = (0..6)
            .map(|n| Event::new("few", "").ordering_key(format!("later {round} {n}")))
            .collect();
        few.extend(events.iter().map(|e| e.id));
        own.append(&events).await;
        let t = Instant::now();
        let mut claims = 0;
        while !few.is_empty() {
            claims += 1;
            let claim = store
                .claim(ClaimLimit::events(100), LEASE)
                .await
                .expect("claimed");
            for e in &claim.events {
                few.remove(&e.event.id);
            }
            store
                .settle(claim.token, &each(&claim, &Outcome::Published))
                .await
                .expect("settled");
        }
        println!(
            "later six published after {claims} claims, {:?}",
            t.elapsed()
        );
    }
}

#[tokio::test]
async fn parked() {
    let own = Own::in_schema("outbox");
    own.execute("INSERT INTO outbox.outbox_events (event_type, ordering_key, payload, available_at) VALUES ('x', 'k', '', now() + interval '1 h')").await;
    own.execute("INSERT INTO outbox.outbox_events (event_type, ordering_key, payload) SELECT 'x', 'k', repeat('x', 200)::bytea FROM generate_series(1, 300000)").await;
    let store = own.open().await;
    let start = Instant::now();
    let mut c = own.connect().await;
    loop {
        let t = Instant::now();
        let claim = store
            .claim(ClaimLimit::events(100), LEASE)
            .await
            .expect("claimed");
        assert!(claim.events.is_empty());
        let parked: i64 = sqlx::query("SELECT count(*) FROM outbox.outbox_retries")
            .fetch_one(&mut c)
            .await
            .unwrap()
            .get(0);
        println!(
            "claim {:?}, parked {parked} after {:?}",
            t.elapsed(),
            start.elapsed()
        );
        let t = Instant::now();
        store
            .wait_for_work(Duration::from_millis(200))
            .await
            .unwrap();
        println!("wait {:?}", t.elapsed());
        if parked == 300001 {
            break;
        }
    }
    println!("{:.0} a second", 300_000.0 / start.elapsed().as_secs_f64());
}

#[tokio::test]
async fn stuck() {
    for n in [100, 200, 1000] {
        let own = Own::in_schema("outbox");
        let events: Vec<Event> = (0..n)
            .map(|n| Event::new("x", "").ordering_key(format!("key {n}")))
            .collect();
        own.append(&events).await;
        let (a, b) = (own.open().await, own.open().await);
        let stuck = a.claim(ClaimLimit::events(100), LEASE).await.unwrap();
        let mut found = 0;
        for _ in 0..30 {
            let c = b.claim(ClaimLimit::events(100), LEASE).await.unwrap();
            if c.events.is_empty() {
                break;
            }
            found += c.events.len();
            b.settle(c.token, &each(&c, &Outcome::Published))
                .await
                .unwrap();
        }
        println!("{n}: stuck {} other {found}", stuck.events.len());
    }
}
