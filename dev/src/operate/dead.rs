//! `relais jobs dead`: the dead letters by what killed them.

use common::database;
use common::database::jobs::dead::{self, DeadGroup};
use common::database::jobs::selection::Selection;

use super::stores::Operator;
use super::text::{self, Table};
use super::{Output, told};

pub(super) async fn list(
    operator: &Operator,
    selection: &Selection,
    limit: u32,
    output: Output,
) -> Result<(), String> {
    let groups = groups(operator, selection, limit.into()).await?;
    output.write(&groups, || table(&groups))
}

/// The groups of `selection`.
pub(super) async fn groups(
    operator: &Operator,
    selection: &Selection,
    limit: i64,
) -> Result<Vec<DeadGroup>, String> {
    let listed = async {
        let mut tx = database::platform(&operator.pool).await?;
        let groups = dead::list_groups(&mut tx, selection, limit).await?;
        tx.commit().await?;
        Ok(groups)
    };
    listed.await.map_err(told)
}

fn table(groups: &[DeadGroup]) -> String {
    let mut table = Table::new(&[
        "fingerprint",
        "queue",
        "kind",
        "jobs",
        "businesses",
        "first",
        "last",
        "example",
        "error",
    ]);
    for group in groups {
        table.row([
            group.fingerprint.clone(),
            group.queue.clone(),
            group.kind.clone(),
            group.jobs.to_string(),
            group.businesses.to_string(),
            text::time(group.first_at),
            text::time(group.last_at),
            group.example.to_string(),
            group.error.clone(),
        ]);
    }
    table.render("no job is dead")
}
