//! Connections that send what they have at once.

use std::io::Result;

use poem::http::uri::Scheme;
use poem::listener::{Acceptor, TcpAcceptor};
use poem::web::{LocalAddr, RemoteAddr};
use tokio::net::TcpStream;

/// Accepts connections that send at once.
///
/// By itself TCP keeps a small piece back until the one before is acknowledged, which the other end puts off by 40 ms: the
/// first words of an answer that comes in pieces, which are what the reader waits for.
pub struct PromptAcceptor(TcpAcceptor);

impl PromptAcceptor {
    /// Accepts from `listener`.
    ///
    /// # Errors
    ///
    /// Where the listener has no address.
    pub fn new(listener: tokio::net::TcpListener) -> Result<Self> {
        TcpAcceptor::from_tokio(listener).map(Self)
    }
}

impl Acceptor for PromptAcceptor {
    type Io = TcpStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        let accepted = self.0.accept().await?;
        // One that is gone already is noticed when it is read from.
        accepted.0.set_nodelay(true).ok();
        Ok(accepted)
    }
}
