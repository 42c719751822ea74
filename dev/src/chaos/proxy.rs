//! A TCP proxy in front of a store, which can be slow, cut, or silent.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the proxy does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Passes it on.
    Pass,
    /// Passes it on after a while.
    Delay(Duration),
    /// Ends every connection, and those that are made.
    Cut,
    /// Passes nothing of the connections whose number is below this, and keeps them open: the other end looks alive.
    Silent(u64),
}

/// The mode, and how often all connections were ended at once.
#[derive(Clone, Copy)]
struct State {
    mode: Mode,
    resets: u64,
}

/// A running proxy; it ends when dropped, and its connections with it.
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    connections: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Mode::Cut);
        self.accepting.abort();
    }
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and passes on to `target`.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (state, states) = watch::channel(State {
            mode: Mode::Pass,
            resets: 0,
        });
        let connections = Arc::new(AtomicU64::new(0));
        let numbers = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(connect(client, target, states.clone(), number));
            }
        });
        Ok(Self {
            address,
            state,
            connections,
            accepting,
        })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Does so from now on.
    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    /// Makes every connection there is fall silent; new ones work.
    pub fn silence(&self) {
        self.set(Mode::Silent(self.connections.load(Ordering::Relaxed)));
    }

    /// Ends every connection there is; new ones work.
    pub fn reset(&self) {
        self.state.send_modify(|state| {
            state.resets += 1;
            state.mode = Mode::Pass;
        });
    }
}

async fn connect(
    client: TcpStream,
    target: SocketAddr,
    mut states: watch::Receiver<State>,
    number: u64,
) {
    let State { mode, resets } = *states.borrow_and_update();
    if mode == Mode::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let cut = |state: &State| state.mode == Mode::Cut || state.resets != resets;
    tokio::select! {
        () = pump(from_client, to_server, states.clone(), number) => {}
        () = pump(from_server, to_client, states.clone(), number) => {}
        _ = states.wait_for(cut) => {}
    }
}

/// Carries bytes one way until an end closes.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut states: watch::Receiver<State>,
    number: u64,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        let speaks = |state: &State| !matches!(state.mode, Mode::Silent(below) if number < below);
        let mode = match states.wait_for(speaks).await {
            Ok(state) => state.mode,
            Err(_) => return,
        };
        if let Mode::Delay(delay) = mode {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await.ok();
                });
            }
        });
        address
    }

    async fn said(stream: &mut TcpStream) -> Option<u8> {
        stream.write_all(b"a").await.ok()?;
        let answer = tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await;
        answer.ok()?.ok()
    }

    #[tokio::test]
    async fn a_silent_connection_stays_open_and_speaks_again_while_a_new_one_works() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let address = ("127.0.0.1", proxy.port());
        let mut old = TcpStream::connect(address).await.unwrap();
        assert_eq!(said(&mut old).await, Some(b'a'));

        proxy.silence();
        assert_eq!(said(&mut old).await, None);
        let mut new = TcpStream::connect(address).await.unwrap();
        assert_eq!(said(&mut new).await, Some(b'a'));

        proxy.set(Mode::Pass);
        assert_eq!(old.read_u8().await.unwrap(), b'a');
    }

    #[tokio::test]
    async fn a_cut_ends_what_there_is() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port()))
            .await
            .unwrap();
        assert_eq!(said(&mut stream).await, Some(b'a'));
        proxy.set(Mode::Cut);
        assert!(stream.read_u8().await.is_err());
    }
}
