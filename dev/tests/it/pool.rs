//! A connection that comes back from a request that was cut off carries nothing of its tenant to the next.

use std::time::Duration;

use common::database;
use common::domain::BusinessId;
use dev::seed::Seeded;
use dev::testing::Platform;
use secrecy::ExposeSecret;
use serde_json::Value;
use sqlx::PgPool;
use tokio::task::JoinSet;

/// Rounds of the mix.
const ROUNDS: u32 = 1_000;

/// How a round ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Commit,
    Forget,
    Panic,
    CutOff(Duration),
}

impl End {
    /// As good as random, and the same each time.
    fn of(round: u32) -> Self {
        match round.wrapping_mul(2_654_435_761) >> 28 {
            0..4 => Self::Commit,
            4..7 => Self::Forget,
            7..10 => Self::Panic,
            nth => Self::CutOff(Duration::from_micros(u64::from(nth - 10) * 150)),
        }
    }
}

/// One request's worth of work in a scope, ended in its way.
async fn work(pool: PgPool, round: u32, businesses: [BusinessId; 2], end: End) {
    let scoped = async {
        let tx = match round % 4 {
            0 | 1 => database::business(&pool, businesses[round as usize % 2]).await,
            2 => database::platform(&pool).await,
            _ => database::user(&pool, common::domain::UserId::new()).await,
        };
        let mut tx = tx.unwrap();
        let slow = "SELECT count(*), pg_sleep(0.0003) FROM documents";
        sqlx::query(slow).execute(&mut *tx).await.unwrap();
        match end {
            End::Commit => tx.commit().await.unwrap(),
            End::Panic => panic!("on purpose"),
            End::Forget | End::CutOff(_) => {}
        }
    };
    match end {
        End::CutOff(after) => drop(tokio::time::timeout(after, scoped).await),
        _ => scoped.await,
    }
}

/// What a connection from the pool says of itself, with nothing set.
async fn left_behind(pool: &PgPool) -> (String, String, String, i64) {
    sqlx::query_as(
        "SELECT current_user::text, coalesce(current_setting('relais.business_id', true), ''),
                coalesce(current_setting('relais.user_id', true), ''), (SELECT count(*) FROM documents)",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

/// Two businesses with a document each.
async fn two_businesses(platform: &Platform) -> [Seeded; 2] {
    let businesses = [
        platform.business.clone(),
        platform.another_business("Another").await,
    ];
    for (business, word) in businesses.iter().zip(["heron", "otter"]) {
        let text = format!("Our mascot is the {word}.");
        let uploaded = platform
            .upload_as(business, &format!("{word}.md"), text.into())
            .await;
        assert_eq!(uploaded.status(), 202);
    }
    businesses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_forgets_its_tenant_however_the_work_ended() {
    let platform = crate::setup().start().await;
    let businesses = two_businesses(&platform)
        .await
        .map(|business| business.business_id);
    let nothing = ("relais_app".to_owned(), String::new(), String::new(), 0);

    let mut panicked = 0;
    for round in 0..ROUNDS {
        let mut tasks = JoinSet::new();
        tasks.spawn(work(
            platform.pool.clone(),
            round,
            businesses,
            End::of(round),
        ));
        tasks.spawn(work(
            platform.pool.clone(),
            round + 1,
            businesses,
            End::of(round ^ 0x55),
        ));
        while let Some(ended) = tasks.join_next().await {
            panicked += u32::from(ended.is_err());
        }
        assert_eq!(left_behind(&platform.pool).await, nothing, "round {round}");
    }
    assert!(panicked > ROUNDS / 10, "{panicked}");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_hang_up_leave_nothing_to_those_who_come_after() {
    let platform = crate::setup().start().await;
    let businesses = two_businesses(&platform).await;
    let list = |business: &Seeded| {
        let request = platform.http.get(platform.url("/api/v1/documents"));
        request.bearer_auth(business.api_key.expose_secret())
    };

    for round in 0..300_u64 {
        let [one, other] = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        let patience = Duration::from_micros(300 + round * 10);
        let hung_up = list(&businesses[one]).timeout(patience).send();
        let (_, answered) = tokio::join!(hung_up, list(&businesses[other]).send());
        let answered: Value = answered.unwrap().json().await.unwrap();
        let names: Vec<&str> = answered["data"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|document| document["filename"].as_str())
            .collect();
        assert_eq!(names, [["heron.md"], ["otter.md"]][other], "round {round}");
    }
    platform.stop().await;
}
