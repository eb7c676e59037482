//! The transport against reqwest alone, with as many requests at the same time, by turns. Both wait for all
//! answers of a call before the next one. The transport makes and signs its requests; those of reqwest alone
//! are made before, and not signed.

use crate::{Failure, median, server};
use futures_util::{StreamExt, stream};
use outbox_core::wire::{Binding, WireForm};
use outbox_core::{Event, Transport};
use outbox_transport_http::reqwest::header::{HeaderName, HeaderValue};
use outbox_transport_http::reqwest::{Client, Method, Request, Url};
use outbox_transport_http::{HttpConfig, HttpTransport};
use std::time::Instant;

/// The sizes of a call, and how many events a round has.
const CALLS: [(usize, usize); 3] = [(1, 5_000), (100, 20_000), (1_000, 20_000)];
const ROUNDS: usize = 5;

/// As many as the transport has by default.
const REQUESTS: usize = 8;

fn events(count: usize) -> Vec<Event> {
    let payload = format!("{{\"order\":7,\"lines\":\"{}\"}}", "x".repeat(200));
    let event = |number: usize| {
        let event = Event::new("order.placed", payload.clone());
        event.ordering_key(format!("order-{}", number % 500))
    };
    (0..count).map(event).collect()
}

fn rate(count: usize, start: Instant) -> f64 {
    count as f64 / start.elapsed().as_secs_f64()
}

async fn ours(transport: &HttpTransport, size: usize, count: usize) -> Result<f64, Failure> {
    let events = events(count);
    let start = Instant::now();
    for call in events.chunks(size) {
        for answer in transport.publish(call).await {
            answer?;
        }
    }
    Ok(rate(count, start))
}

fn request(url: &Url, event: &Event) -> Result<Request, Failure> {
    let form = WireForm::default();
    let written = form.write(Binding::Http, event)?;
    let mut request = Request::new(Method::POST, url.clone());
    let content_type = ("content-type".into(), written.content_type);
    for (name, value) in written.headers.into_iter().chain([content_type]) {
        let name: HeaderName = name.parse()?;
        request
            .headers_mut()
            .insert(name, HeaderValue::from_str(&value)?);
    }
    *request.body_mut() = Some(written.body.into());
    Ok(request)
}

async fn alone(client: &Client, url: &Url, size: usize, count: usize) -> Result<f64, Failure> {
    let requests: Result<Vec<Request>, Failure> = events(count)
        .iter()
        .map(|event| request(url, event))
        .collect();
    let mut requests = requests?.into_iter().peekable();
    let start = Instant::now();
    while requests.peek().is_some() {
        let call: Vec<Request> = requests.by_ref().take(size).collect();
        let send = |request| async move {
            let response = client.execute(request).await?.error_for_status()?;
            response.bytes().await.map(drop)
        };
        let mut answers = stream::iter(call).map(send).buffer_unordered(REQUESTS);
        while let Some(answer) = answers.next().await {
            answer?;
        }
    }
    Ok(rate(count, start))
}

pub(crate) async fn run() -> Result<(), Failure> {
    let url = format!("http://{}/hooks", server::start().await?);
    let config = HttpConfig::from_url(&url)?
        .allow_networks(["127.0.0.0/8".parse()?])
        .secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?);
    let transport = HttpTransport::open(config)?;
    let client = Client::builder().no_proxy().build()?;
    let url: Url = url.parse()?;
    for (size, count) in CALLS {
        let (mut mine, mut its, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            mine.push(ours(&transport, size, count).await?);
            its.push(alone(&client, &url, size, count).await?);
            ratios.push(mine[mine.len() - 1] / its[its.len() - 1]);
        }
        println!(
            "calls of {size}: {:.0} events a second; reqwest alone {:.0}; {:.2} times as many",
            median(mine),
            median(its),
            median(ratios)
        );
    }
    Ok(())
}
