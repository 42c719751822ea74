//! The user who runs a server: ourselves, or another one where we are root and the server refuses that.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The user and group `nobody` where `/etc/passwd` does not say otherwise.
const NOBODY: (u32, u32) = (65534, 65534);

/// Who runs a server: ourselves, or the user and group with these ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account(Option<(u32, u32)>);

impl Account {
    /// Ourselves.
    pub(super) fn ourselves() -> Self {
        Self(None)
    }

    /// Ourselves, or for root the user `postgres` or else `nobody`.
    pub(super) fn unprivileged() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::ourselves();
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let ids = ["postgres", "nobody"]
            .iter()
            .find_map(|name| ids_of(&users, name));
        Self(Some(ids.unwrap_or(NOBODY)))
    }

    /// As [`Account::unprivileged`], but for root the owner of `data` where it exists, who alone may use it.
    pub(super) fn unprivileged_for(data: &Path) -> Self {
        let account = Self::unprivileged();
        match fs::metadata(data) {
            Ok(data) if account.0.is_some() && data.uid() != 0 => {
                Self(Some((data.uid(), data.gid())))
            }
            _ => account,
        }
    }

    /// The user's id where it is not our own.
    pub(super) fn other_uid(self) -> Option<u32> {
        self.0.map(|(uid, _)| uid)
    }

    /// Makes `command` run as this user, in its group alone.
    pub(super) fn run(self, command: &mut Command) -> &mut Command {
        match self.0 {
            // The standard library clears the supplementary groups as well when root does this.
            Some((uid, gid)) => command.uid(uid).gid(gid),
            None => command,
        }
    }

    /// Gives `path` to this user.
    pub(super) fn give(self, path: &Path) -> std::io::Result<()> {
        match self.0 {
            Some((uid, gid)) => lchown(path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }

    /// Whether this user can reach `folder`, owns it and may write there: asked of the system, which alone knows.
    pub(super) fn can_work_in(self, folder: &Path) -> bool {
        let mut test = Command::new("sh");
        test.args(["-c", r#"cd "$0" && test -O . && test -w ."#])
            .arg(folder)
            .current_dir("/");
        test.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.0.is_none()
            || self
                .run(&mut test)
                .status()
                .is_ok_and(|status| status.success())
    }
}

/// The user and group ids of `name` in the text of `/etc/passwd`.
fn ids_of(users: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = users
        .lines()
        .map(|line| line.split(':'))
        .find(|fields| fields.clone().next() == Some(name))?;
    Some((fields.nth(2)?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_ids_are_read_from_its_own_line() {
        let users = "root:x:0:0:root:/root:/bin/bash\nnobody2:x:7:8::/:\nnobody:x:65534:65533:nobody:/:/bin/false\n";
        assert_eq!(ids_of(users, "nobody"), Some((65534, 65533)));
        assert_eq!(ids_of(users, "postgres"), None);
    }
}
