//! A client that costs little, so that the server is what is measured: bytes over kept connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::statistics::{Latencies, float};

/// A kept connection.
pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    /// Connects.
    pub(super) async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(4_096),
        })
    }

    /// Sends `request` and reads its answer, which `parse` recognizes: whether it is a good one, and its length.
    pub(super) async fn exchange(
        &mut self,
        request: &[u8],
        parse: impl Fn(&[u8]) -> Option<(bool, usize)>,
    ) -> std::io::Result<bool> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some((good, whole)) = parse(&self.buffer)
                && self.buffer.len() >= whole
            {
                return Ok(good);
            }
        }
    }
}

/// Whether the HTTP response that `bytes` begin with is a 200, and its length, once its head is there.
fn response(bytes: &[u8]) -> Option<(bool, usize)> {
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_end]).ok()?;
    let status: u16 = head.get(9..12)?.parse().ok()?;
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
    Some((status == 200, head_end + length))
}

/// What ManyChat sends: `text` from a subscriber, as message `number`, as raw HTTP.
pub(super) fn webhook(secret: &str, subscriber_id: u64, text: &str, number: u64) -> Vec<u8> {
    let body = format!(
        r#"{{"subscriber_id": {subscriber_id}, "text": "{text}", "message_id": "m{number}", "first_name": "Ana"}}"#
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
    /// The latencies.
    pub(super) latencies: Latencies,
    /// Requests that were not answered well.
    pub(super) failed: usize,
    /// How long it took.
    pub(super) took: Duration,
}

impl Load {
    /// Requests a second.
    pub(super) fn rate(&self) -> f64 {
        float(self.latencies.len()) / self.took.as_secs_f64().max(f64::EPSILON)
    }
}

/// As many HTTP requests as `connections` get through in `time`; `request` makes the one of each number from 0.
pub(super) async fn saturate(
    address: SocketAddr,
    connections: usize,
    time: Duration,
    request: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
) -> std::io::Result<Load> {
    let mut wires = Vec::with_capacity(connections);
    for _ in 0..connections {
        wires.push(Wire::open(address).await?);
    }
    saturate_with(wires, time, request, response).await
}

/// As many requests as `wires` get through in `time`, answered as `parse` knows.
pub(super) async fn saturate_with(
    wires: Vec<Wire>,
    time: Duration,
    request: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
    parse: fn(&[u8]) -> Option<(bool, usize)>,
) -> std::io::Result<Load> {
    let (request, lanes) = (Arc::new(request), wires.len() as u64);
    let started = Instant::now();
    let mut tasks = Vec::new();
    for (lane, mut wire) in (0..).zip(wires) {
        let request = Arc::clone(&request);
        tasks.push(tokio::spawn(async move {
            let (mut latencies, mut failed, mut number) = (Vec::new(), 0, lane);
            while started.elapsed() < time {
                let sent = Instant::now();
                let good = wire.exchange(&request(number), parse).await?;
                latencies.push(sent.elapsed());
                failed += usize::from(!good);
                number += lanes;
            }
            Ok::<_, std::io::Error>((latencies, failed))
        }));
    }
    gather(tasks, started).await
}

/// `rate` HTTP requests a second for `time`, whatever the answers do; latency counts from when a request was due.
pub(super) async fn at_rate(
    address: SocketAddr,
    rate: u32,
    time: Duration,
    request: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
) -> std::io::Result<Load> {
    /// Enough that a slow answer keeps none of the following waiting for a connection.
    const LANES: u32 = 256;
    let mut wires = Vec::new();
    for _ in 0..LANES {
        wires.push(Wire::open(address).await?);
    }
    let request = Arc::new(request);
    let started = Instant::now();
    let mut tasks = Vec::new();
    for (lane, mut wire) in (0..).zip(wires) {
        let request = Arc::clone(&request);
        tasks.push(tokio::spawn(async move {
            let (mut latencies, mut failed, mut number): (_, _, u32) = (Vec::new(), 0, lane);
            loop {
                let due = started + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
                if due.duration_since(started) >= time {
                    return Ok::<_, std::io::Error>((latencies, failed));
                }
                tokio::time::sleep_until(due).await;
                let good = wire.exchange(&request(u64::from(number)), response).await?;
                latencies.push(due.elapsed());
                failed += usize::from(!good);
                number += LANES;
            }
        }));
    }
    gather(tasks, started).await
}

/// What one connection saw: latencies, and answers that were not good.
type Lane = (Vec<Duration>, usize);

async fn gather(
    tasks: Vec<JoinHandle<std::io::Result<Lane>>>,
    started: Instant,
) -> std::io::Result<Load> {
    let (mut latencies, mut failed) = (Vec::new(), 0);
    for task in tasks {
        let (of_lane, failed_of_lane) = task.await.map_err(std::io::Error::other)??;
        latencies.extend(of_lane);
        failed += failed_of_lane;
    }
    Ok(Load {
        latencies: Latencies::new(latencies),
        failed,
        took: started.elapsed(),
    })
}
