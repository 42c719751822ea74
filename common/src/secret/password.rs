//! Passwords: bcrypt, in a pool of threads of its own.
//!
//! A hash takes a quarter of a second of a core or more, by design. On the runtime's threads, or on its pool for blocking
//! work, a storm of sign-ins would slow everything else; here it only makes sign-ins wait, and in the end refuses them.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// bcrypt's work factor: 2^12 rounds.
const COST: u32 = 12;

/// bcrypt reads no further: what is longer is refused, never cut.
const LONGEST: usize = 72;

const SHORTEST: usize = 8;

/// Hashes that wait at once. At four a second and thread, the last of them waits a quarter of a minute.
const QUEUE: usize = 64;

/// How far the threads stand back behind the process's others. Linux has a priority for each thread.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// What a password is compared with where there is none, so that it takes as long: a hash of [`COST`], which opens nothing.
const NOBODY: &str = "$2b$12$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW";

/// A password that can be hashed: 8 to 72 bytes.
#[derive(Clone, Debug)]
pub struct Password(SecretString);

impl Password {
    /// A password somebody chooses.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for `field`, unless it has 8 to 72 bytes and no NUL.
    pub fn new(password: String, field: &'static str) -> Result<Self> {
        if password.len() < SHORTEST {
            return Err(Error::invalid(
                field,
                format!("must have at least {SHORTEST} characters"),
            ));
        }
        Self::attempt(password, field)
    }

    /// A password somebody tries: one that is too short to be chosen is only wrong.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for `field` where it has more than 72 bytes, or a NUL.
    pub fn attempt(password: String, field: &'static str) -> Result<Self> {
        if password.len() > LONGEST {
            let reason =
                format!("must have at most {LONGEST} bytes; letters with accents have two");
            return Err(Error::invalid(field, reason));
        }
        if password.contains('\0') {
            return Err(Error::invalid(field, "must not contain the character NUL"));
        }
        Ok(Self(password.into()))
    }
}

/// Too many hashes wait already: try again in a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords wait to be checked")]
pub struct Busy;

type Work = Box<dyn FnOnce() + Send>;

/// Hashes passwords and checks them, a few at once. Its threads end when it is dropped.
pub struct PasswordHasher {
    queue: SyncSender<Work>,
}

impl PasswordHasher {
    /// Starts the threads: one for every two cores.
    pub fn start() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with((cores / 2).max(1), QUEUE)
    }

    fn with(threads: usize, room: usize) -> Self {
        let (queue, works) = sync_channel(room);
        let works = Arc::new(Mutex::new(works));
        for number in 0..threads {
            let works = Arc::clone(&works);
            std::thread::Builder::new()
                .name(format!("passwords-{number}"))
                .spawn(move || work(&works))
                .expect("the system has room for a thread");
        }
        Self { queue }
    }

    /// What to keep of `password`.
    ///
    /// # Errors
    ///
    /// [`Busy`]
    pub async fn hash(&self, password: Password) -> Result<String, Busy> {
        self.run(move || {
            bcrypt::hash(password.0.expose_secret(), COST).expect("the cost is one bcrypt takes")
        })
        .await
    }

    /// Whether `password` hashes to `hash`; `None`, as for users who are not there, takes as long and is `false`.
    ///
    /// # Errors
    ///
    /// [`Busy`]
    pub async fn verify(&self, password: Password, hash: Option<String>) -> Result<bool, Busy> {
        self.run(move || {
            let expected = hash.as_deref().unwrap_or(NOBODY);
            // A hash that does not read is nobody's password.
            let matches = bcrypt::verify(password.0.expose_secret(), expected).unwrap_or(false);
            matches && hash.is_some()
        })
        .await
    }

    /// Runs `work` on one of the threads, unless whoever asked has gone by then.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move || {
            if !answer.is_closed() {
                answer.send(work()).ok();
            }
        });
        self.queue.try_send(work).map_err(|_| Busy)?;
        answered.await.map_err(|_| Busy)
    }
}

fn work(works: &Mutex<Receiver<Work>>) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "the threads for passwords run at full priority");
    }
    loop {
        let next = works.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = next else { return };
        work();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.to_owned(), "password").unwrap()
    }

    #[test]
    fn a_password_has_8_to_72_bytes_and_no_nul() {
        let chosen = |text: &str| Password::new(text.to_owned(), "password").is_ok();
        assert!(chosen("12345678") && chosen(&"x".repeat(72)) && chosen(&"é".repeat(36)));
        assert!(!chosen("1234567") && !chosen(&"x".repeat(73)) && !chosen(&"é".repeat(37)));
        assert!(!chosen("12345678\0"));
        assert!(Password::attempt("short".to_owned(), "password").is_ok());
        assert!(Password::attempt("x".repeat(73), "password").is_err());
    }

    #[tokio::test]
    async fn every_byte_of_a_password_counts() {
        let hasher = PasswordHasher::with(2, QUEUE);
        let right = "x".repeat(72);
        let hash = hasher.hash(password(&right)).await.unwrap();

        assert!(hash.starts_with("$2b$12$"));
        let check = async |text: &str| hasher.verify(password(text), Some(hash.clone())).await;
        assert_eq!(check(&right).await, Ok(true));
        assert_eq!(check(&format!("{}y", &right[1..])).await, Ok(false));
    }

    /// A comparison that ends early would tell who has an account.
    #[tokio::test]
    async fn nobody_is_compared_with_too() {
        let hasher = PasswordHasher::with(1, QUEUE);
        assert!(bcrypt::verify("anything", NOBODY).is_ok());
        assert_eq!(hasher.verify(password("password"), None).await, Ok(false));
    }

    #[tokio::test]
    async fn too_many_at_once_are_refused_and_those_who_left_are_skipped() {
        let hasher = PasswordHasher::with(1, 1);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (begun, beginning) = oneshot::channel();
        let first = hasher.run(move || {
            begun.send(()).ok();
            held.recv().ok();
        });
        let second = hasher.run(|| ());
        tokio::pin!(first, second);
        assert!(futures::poll!(&mut first).is_pending());
        beginning.await.unwrap();
        assert!(futures::poll!(&mut second).is_pending());

        assert_eq!(hasher.run(|| ()).await, Err(Busy));
        release.send(()).unwrap();
        assert_eq!(first.await, Ok(()));
        assert_eq!(second.await, Ok(()));
    }
}
