//! The service as a whole: orders over HTTP, events through NATS, invoices, SIGTERM.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use test_servers::Kind;
use test_servers::postgres::Database;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::test(flavor = "multi_thread")]
async fn each_order_has_one_invoice_and_sigterm_ends_the_service_with_success() -> Result<()> {
    let database = Database::create().await;
    let service = Service::start(&database)?;
    let refused = service.request("POST /orders", r#"{"customer":"leonie","total":0}"#)?;
    assert!(refused.starts_with("HTTP/1.1 422"), "{refused}");
    assert!(
        refused.ends_with("total is 0, but must be at least 1"),
        "{refused}"
    );
    for order in 1..=5 {
        let body = format!(r#"{{"customer":"leonie","total":{}}}"#, order * 100);
        let placed = service.request("POST /orders", &body)?;
        assert!(placed.starts_with("HTTP/1.1 201"), "{placed}");
        assert!(
            placed.ends_with(&format!(r#"{{"order":{order}}}"#)),
            "{placed}"
        );
    }
    for order in 1..=5 {
        service.wait_for(&format!("GET /orders/{order}"), r#""invoiced":true"#)?;
    }
    service.wait_for("GET /health", r#""pending":0"#)?;
    service.terminate()?;

    let invoices: Vec<(i64, i64)> =
        sqlx::query_as("SELECT order_id, total FROM invoices ORDER BY order_id")
            .fetch_all(&database.pool())
            .await?;
    assert_eq!(invoices, [(1, 100), (2, 200), (3, 300), (4, 400), (5, 500)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_a_killed_service_are_invoiced_by_the_next_one() -> Result<()> {
    let database = Database::create().await;
    let mut killed = Service::start(&database)?;
    for _ in 0..20 {
        killed.request("POST /orders", r#"{"customer":"leonie","total":7}"#)?;
    }
    killed.process.kill()?;
    killed.process.wait()?;
    let next = Service::start(&database)?;
    for order in 1..=20 {
        next.wait_for(&format!("GET /orders/{order}"), r#""invoiced":true"#)?;
    }
    next.terminate()?;
    let invoices: Vec<i64> = sqlx::query_scalar("SELECT order_id FROM invoices ORDER BY order_id")
        .fetch_all(&database.pool())
        .await?;
    assert_eq!(invoices, (1..=20).collect::<Vec<i64>>());
    Ok(())
}

/// The running program, killed when the test ends early.
struct Service {
    process: Child,
    address: String,
}

impl Service {
    /// Each database has its own stream.
    fn start(database: &Database) -> Result<Self> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_order-service"))
            .env("DATABASE_URL", database.url())
            .env("NATS_URL", test_servers::url(Kind::Nats)?)
            .env("STREAM", database.name())
            .env("LISTEN", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_default();
        let address = address.to_owned();
        Ok(Self { process, address })
    }

    /// The answer to a request, with its head.
    fn request(&self, line: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(
            stream,
            "{line} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn wait_for(&self, line: &str, part: &str) -> Result<()> {
        let start = Instant::now();
        loop {
            let answer = self.request(line, "")?;
            if answer.contains(part) {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(60) {
                return Err(format!("{line} does not answer {part} within 60 s: {answer}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends SIGTERM, and expects that the service ends with success.
    fn terminate(mut self) -> Result<()> {
        let process = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &process]).status()?;
        let status = self.process.wait()?;
        assert!(status.success(), "{status}");
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
