//! One server process: its thread, its signals, its end.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a server may take to end on its last signal before it is killed.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);

/// A command that runs `program`, out of the reach of the terminal's Ctrl-C.
///
/// Where the system can do so (`setpriv` of util-linux), the process gets the signal `death` when we die.
pub(super) fn guarded(program: &Path, death: &str) -> Command {
    static SETPRIV: OnceLock<bool> = OnceLock::new();
    let setpriv = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(args);
        command
    };
    let works = SETPRIV.get_or_init(|| {
        let mut probe = setpriv(&["--pdeathsig", "TERM", "--", "true"]);
        probe
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    });
    let mut command = if *works {
        let mut command = setpriv(&["--pdeathsig", death, "--"]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    command.process_group(0);
    command
}

/// A running child process. Dropped, it is ended.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    last_signal: Signal,
    ended: watch::Receiver<bool>,
}

impl Process {
    /// Starts `command` from a thread of its own, which lives as long as the process.
    ///
    /// The system sends the signal of [`guarded`] when the *thread* that started a process ends, and threads of an
    /// async runtime end at any time.
    pub(super) fn spawn(name: &str, command: Command, last_signal: Signal) -> io::Result<Self> {
        let (started, start) = mpsc::channel();
        let (end, ended) = watch::channel(false);
        thread::Builder::new()
            .name(format!("{name}-keeper"))
            .spawn(move || keep(command, &started, &end))?;
        let pid = start.recv().map_err(io::Error::other)??;
        Ok(Self {
            pid,
            last_signal,
            ended,
        })
    }

    /// The process's id.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends `signal`, unless the process has ended.
    pub(super) fn signal(&self, signal: Signal) {
        // The keeper needs this lock to reap the process: until then its id is not given to another one.
        let ended = self.ended.borrow();
        if !*ended {
            // Fails only where a server's user may not be signalled; the waits that follow are bounded.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Whether the process has ended, as after a crash.
    pub(super) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits for the process to end.
    pub(super) async fn ended(&self) {
        // Fails if the keeper is gone, which it is only after the process.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Waits for the process to end, but no longer than `limit`. Whether it has ended.
    pub(super) async fn ended_within(&self, limit: Duration) -> bool {
        timeout(limit, self.ended()).await.is_ok()
    }

    /// Kills the process, then its children where the system lists them, and waits for its end.
    pub(super) async fn kill(&self) {
        let children = self.children();
        self.signal(Signal::KILL);
        self.ended_within(DROP_TIMEOUT).await;
        // A PostgreSQL session in the midst of a query would not notice for as long as that takes.
        for child in children {
            let _ = kill_process(child, Signal::KILL);
        }
    }

    fn children(&self) -> Vec<Pid> {
        let list = format!("/proc/{0}/task/{0}/children", self.pid);
        let ids = fs::read_to_string(list).unwrap_or_default();
        ids.split_whitespace()
            .filter_map(|id| Pid::from_raw(id.parse().ok()?))
            .collect()
    }
}

impl Drop for Process {
    /// Ends the process, and waits for that: its folder may be deleted next.
    fn drop(&mut self) {
        self.signal(self.last_signal);
        let deadline = Instant::now() + DROP_TIMEOUT;
        while !self.has_ended() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        self.signal(Signal::KILL);
    }
}

/// Runs `command` and stays until it has ended.
fn keep(mut command: Command, started: &mpsc::Sender<io::Result<Pid>>, end: &watch::Sender<bool>) {
    let spawned = command.spawn();
    // Closes our copies of the files that the process was given: one of them is a lock.
    drop(command);
    match spawned {
        Ok(mut child) => {
            let _ = started.send(Ok(Pid::from_child(&child)));
            wait(&child);
            end.send_modify(|ended| {
                let _ = child.wait();
                *ended = true;
            });
        }
        Err(error) => {
            let _ = started.send(Err(error));
        }
    }
}

/// Waits until `child` has ended, without reaping it.
fn wait(child: &Child) {
    let id = || WaitId::Pid(Pid::from_child(child));
    while let Err(Errno::INTR) = waitid(id(), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
}
