//! A client that costs little, so that the server is what is measured: raw HTTP/1.1 over kept connections.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A kept connection.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(super) async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(4_096),
        })
    }

    /// Sends `request` and reads its response; answers the status.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> std::io::Result<u16> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some((status, whole)) = parse(&self.buffer)
                && self.buffer.len() >= whole
            {
                return Ok(status);
            }
        }
    }
}

/// Status and length of the response that `bytes` begin with, once its head is there.
fn parse(bytes: &[u8]) -> Option<(u16, usize)> {
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_end]).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")?
                .trim()
                .parse::<usize>()
                .ok()
        })
        .unwrap_or(0);
    Some((status, head_end + length))
}

/// What ManyChat sends: message `number`, as raw HTTP.
pub(super) fn webhook(secret: &str, number: u64) -> Vec<u8> {
    let body = format!(
        r#"{{"subscriber_id": {}, "text": "Bonjour, quelle est votre adresse ?", "message_id": "m{number}", "first_name": "Ana"}}"#,
        number % 1_000
    );
    format!(
        "POST /api/v1/webhook/manychat HTTP/1.1\r\nHost: localhost\r\nX-Webhook-Secret: {secret}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// How a load went.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// The latencies, sorted.
    pub(super) latencies: Vec<Duration>,
    /// Requests answered other than 200.
    pub(super) failed: usize,
    /// How long it took.
    pub(super) took: Duration,
}

impl Load {
    /// Requests a second.
    pub(super) fn rate(&self) -> f64 {
        let count = u32::try_from(self.latencies.len()).unwrap_or(u32::MAX);
        f64::from(count) / self.took.as_secs_f64().max(f64::EPSILON)
    }
}

/// As many requests as `connections` get through in `time`; `request` makes the one of each number from `first`.
pub(super) async fn saturate(
    address: SocketAddr,
    connections: usize,
    time: Duration,
    request: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
) -> std::io::Result<Load> {
    let request = std::sync::Arc::new(request);
    let started = Instant::now();
    let mut tasks = Vec::new();
    for lane in 0..connections {
        let request = std::sync::Arc::clone(&request);
        tasks.push(tokio::spawn(async move {
            let mut connection = Connection::open(address).await?;
            let (mut latencies, mut failed, mut number) = (Vec::new(), 0, lane as u64);
            while started.elapsed() < time {
                let sent = Instant::now();
                let status = connection.exchange(&request(number)).await?;
                latencies.push(sent.elapsed());
                failed += usize::from(status != 200);
                number += connections as u64;
            }
            Ok::<_, std::io::Error>((latencies, failed))
        }));
    }
    gather(tasks, started).await
}

/// `rate` requests a second for `time`, whatever the answers do; latency counts from when a request was due.
pub(super) async fn at_rate(
    address: SocketAddr,
    rate: u32,
    time: Duration,
    request: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
) -> std::io::Result<Load> {
    /// Enough for a second's requests to be under way at once.
    const LANES: u32 = 64;
    let request = std::sync::Arc::new(request);
    let started = Instant::now();
    let mut tasks = Vec::new();
    for lane in 0..LANES {
        let request = std::sync::Arc::clone(&request);
        tasks.push(tokio::spawn(async move {
            let mut connection = Connection::open(address).await?;
            let (mut latencies, mut failed, mut number) = (Vec::new(), 0, lane);
            loop {
                let due = started + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
                if due.duration_since(started) > time {
                    return Ok::<_, std::io::Error>((latencies, failed));
                }
                tokio::time::sleep_until(due).await;
                let status = connection.exchange(&request(u64::from(number))).await?;
                latencies.push(due.elapsed());
                failed += usize::from(status != 200);
                number += LANES;
            }
        }));
    }
    gather(tasks, started).await
}

/// What one connection saw: latencies, and answers other than 200.
type Lane = (Vec<Duration>, usize);

async fn gather(
    tasks: Vec<JoinHandle<std::io::Result<Lane>>>,
    started: Instant,
) -> std::io::Result<Load> {
    let mut load = Load::default();
    for task in tasks {
        let (latencies, failed) = task.await.map_err(std::io::Error::other)??;
        load.latencies.extend(latencies);
        load.failed += failed;
    }
    load.took = started.elapsed();
    load.latencies.sort_unstable();
    Ok(load)
}
