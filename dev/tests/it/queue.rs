//! The job: retries, dead letters, deadlines, fairness, and what apalis-redis 1.0 would do to it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{insert, probe};
use common::database;
use common::domain::JobId;
use common::queue::jobs::{Mishap, Probe};
use common::queue::{self, NewJob, QueueName};
use dev::testing::{Platform, Setup, eventually};
use fred::interfaces::{HashesInterface, KeysInterface, ListInterface, SetsInterface};
use workers::Concurrency;

fn setup() -> Setup {
    crate::setup_for_probes(8)
}

/// Enqueues as a service does: insert, commit, push.
async fn enqueue(platform: &Platform, job: &NewJob) -> JobId {
    let dispatch =
        queue::Dispatch::new(common::redis::connect(&platform.config.stores.redis_url).unwrap());
    let mut tx = database::platform(&platform.pool).await.unwrap();
    let enqueued = queue::enqueue(&mut tx, job, platform.clock.now())
        .await
        .unwrap()
        .unwrap();
    tx.commit().await.unwrap();
    dispatch.push(&[enqueued]).await;
    job.id
}

/// A job's state, attempts and last error once it has ended.
async fn ended(platform: &Platform, id: JobId) -> (String, i32, Option<String>) {
    eventually("the job has ended", async || {
        let row: (String, i32, Option<String>) =
            sqlx::query_as("SELECT state::text, attempt, last_error FROM jobs WHERE id = $1")
                .bind(id)
                .fetch_one(&platform.owner)
                .await
                .unwrap();
        ["succeeded", "dead", "cancelled"]
            .contains(&row.0.as_str())
            .then_some(row)
    })
    .await
}

async fn unfinished(platform: &Platform) -> i64 {
    let count =
        "SELECT count(*) FROM jobs WHERE kind = 'probe' AND state NOT IN ('succeeded', 'dead')";
    sqlx::query_scalar(count)
        .fetch_one(&platform.owner)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_panics_and_timeouts_are_tried_again_and_refusals_are_not() {
    let platform = setup().start().await;
    let mishap = |mishap, mishaps| {
        NewJob::new(&Probe {
            mishap: Some(mishap),
            mishaps,
            ..probe(None)
        })
    };

    let healed = enqueue(&platform, &mishap(Mishap::Error, 1)).await;
    let panicked = enqueue(&platform, &mishap(Mishap::Panic, 1)).await;
    let hung = enqueue(&platform, &mishap(Mishap::Hang, 1)).await;
    let hopeless = enqueue(&platform, &mishap(Mishap::Error, 99)).await;
    let refused = enqueue(&platform, &mishap(Mishap::Refusal, 99)).await;

    assert_eq!(ended(&platform, healed).await.0, "succeeded");
    let (state, attempts, error) = ended(&platform, panicked).await;
    assert_eq!((state.as_str(), attempts), ("succeeded", 2));
    assert!(error.unwrap().contains("panicked: as asked"));
    let (state, attempts, error) = ended(&platform, hung).await;
    assert_eq!((state.as_str(), attempts), ("succeeded", 2));
    assert!(error.unwrap().contains("took longer than 2s"));
    let (state, attempts, _) = ended(&platform, hopeless).await;
    assert_eq!(
        (state.as_str(), attempts),
        ("dead", 3),
        "its attempts are capped"
    );
    let (state, attempts, error) = ended(&platform, refused).await;
    assert_eq!((state.as_str(), attempts), ("dead", 1));
    assert!(error.unwrap().contains("as asked"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_job_runs_again_when_revived_and_a_waiting_one_can_be_called_off() {
    let platform = setup().start().await;
    let business_id = platform.business.business_id;
    let dead = enqueue(
        &platform,
        &NewJob::new(&Probe {
            mishap: Some(Mishap::Refusal),
            mishaps: 1,
            ..probe(None)
        }),
    )
    .await;
    assert_eq!(ended(&platform, dead).await.0, "dead");

    let now = platform.clock.now();
    crate::revive(&platform, dead).await;
    assert_eq!(ended(&platform, dead).await.0, "succeeded");

    let later = NewJob::new(&probe(Some(business_id))).at(now + chrono::TimeDelta::hours(1));
    let later = enqueue(&platform, &later).await;
    let mut tx = database::business(&platform.pool, business_id)
        .await
        .unwrap();
    assert!(
        database::jobs::view::cancel(&mut tx, business_id, later, Duration::from_mins(1), now)
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    assert_eq!(ended(&platform, later).await.0, "cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_job_runs_at_its_time_and_not_before() {
    let platform = setup().start().await;
    let run_at = platform.clock.now() + chrono::TimeDelta::milliseconds(800);

    let id = enqueue(&platform, &NewJob::new(&probe(None)).at(run_at)).await;
    ended(&platform, id).await;

    let (started, asked): (chrono::DateTime<chrono::Utc>, chrono::DateTime<chrono::Utc>) =
        sqlx::query_as("SELECT started_at, run_at FROM jobs WHERE id = $1")
            .bind(id)
            .fetch_one(&platform.owner)
            .await
            .unwrap();
    assert!(started >= asked, "{started} {asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_ten_thousand_jobs_drains_through_a_short_list() {
    let platform = Setup {
        workers: false,
        ..setup()
    }
    .start()
    .await;
    let jobs: Vec<NewJob> = (0..10_000).map(|_| NewJob::new(&probe(None))).collect();
    insert(&platform, &jobs).await;
    let redis = common::redis::connect(&platform.config.stores.redis_url).unwrap();

    let _workers = platform.spawn(&["workers", "--queues", "maintenance=32"]);
    let mut longest = 0_i64;
    eventually("the backlog is drained", async || {
        let length: i64 = redis.llen("{relais:maintenance}:active").await.unwrap_or(0);
        longest = longest.max(length);
        (unfinished(&platform).await == 0).then_some(())
    })
    .await;

    assert!(longest < 5_000, "{longest}");
    let runs: i64 = sqlx::query_scalar("SELECT sum(attempt) FROM jobs WHERE kind = 'probe'")
        .fetch_one(&platform.owner)
        .await
        .unwrap();
    assert_eq!(runs, 10_000, "each ran once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_keeps_nothing_of_ended_jobs() {
    let platform = setup().start().await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(enqueue(&platform, &NewJob::new(&probe(None))).await);
    }
    for id in ids {
        ended(&platform, id).await;
    }

    let redis = common::redis::connect(&platform.config.stores.redis_url).unwrap();
    let consumers = queue::Dispatch::new(redis.clone())
        .heartbeats(QueueName::Maintenance)
        .await
        .unwrap();
    assert!(!consumers.is_empty());
    eventually("Redis is clean", async || {
        let mut left: i64 = redis.hlen("{relais:maintenance}:data").await.unwrap();
        for set in ["done", "dead"] {
            let key = format!("{{relais:maintenance}}:{set}");
            left += redis.scard::<i64, _>(key).await.unwrap();
        }
        for consumer in consumers.keys() {
            let key = format!("{{relais:maintenance}}:inflight:{consumer}");
            left += redis.scard::<i64, _>(key).await.unwrap();
        }
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_in_redis_stops_no_worker() {
    let platform = setup().start().await;
    let redis = common::redis::connect(&platform.config.stores.redis_url).unwrap();
    let ulid = |n: u8| format!("01HZZZZZZZZZZZZZZZZZZZZZZ{}", char::from(b'A' + n));
    for (n, payload) in [
        "not json",
        "{\"job\": 1}",
        "\"no id\"",
        "\"00000000-0000-0000-0000-000000000000\"",
    ]
    .iter()
    .enumerate()
    {
        let id = ulid(u8::try_from(n).unwrap());
        let _: () = redis
            .hset("{relais:maintenance}:data", (id.as_str(), *payload))
            .await
            .unwrap();
        let meta = [
            ("attempts", "0"),
            ("max_attempts", "1"),
            ("status", "Pending"),
        ];
        let _: () = redis
            .hset(format!("{{relais:maintenance}}:meta:{id}"), meta.to_vec())
            .await
            .unwrap();
        let _: i64 = redis
            .rpush("{relais:maintenance}:active", id)
            .await
            .unwrap();
    }
    // An id without data, and one that is none.
    let _: i64 = redis
        .rpush(
            "{relais:maintenance}:active",
            vec![ulid(9), "rubbish".to_owned()],
        )
        .await
        .unwrap();
    let _: () = redis
        .set("{relais:maintenance}:signal", "x", None, None, false)
        .await
        .unwrap();
    let _: i64 = redis.del("{relais:maintenance}:signal").await.unwrap();

    let id = enqueue(&platform, &NewJob::new(&probe(None))).await;
    assert_eq!(ended(&platform, id).await.0, "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arguments_that_do_not_decode_are_dead_and_an_unknown_kind_waits_for_a_newer_worker() {
    let platform = setup().start().await;
    let mut bad = NewJob::new(&probe(None));
    bad.args = serde_json::json!({ "sleep_ms": "soon" });
    let mut unknown = NewJob::new(&probe(None));
    unknown.kind = "brew_coffee".to_owned();

    let bad = enqueue(&platform, &bad).await;
    let unknown = enqueue(&platform, &unknown).await;

    let (state, attempts, error) = ended(&platform, bad).await;
    assert_eq!((state.as_str(), attempts), ("dead", 1));
    assert!(error.unwrap().contains("do not read as probe"));
    let reason = eventually("the unknown kind waits", async || {
        let row: (String, Option<String>) =
            sqlx::query_as("SELECT state::text, wait_reason FROM jobs WHERE id = $1")
                .bind(unknown)
                .fetch_one(&platform.owner)
                .await
                .unwrap();
        row.1.filter(|_| row.0 == "queued")
    })
    .await;
    assert!(reason.contains("knows its kind"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_noisy_business_does_not_hold_up_anothers_message() {
    let setup = Setup {
        concurrency: Concurrency(BTreeMap::from([
            (QueueName::Chat, 4),
            (QueueName::Delivery, 4),
        ])),
        ..crate::setup()
    };
    let platform = setup.start().await;
    let noisy = platform.another_business("Bruyant").await;
    let flood: Vec<NewJob> = (0..5_000)
        .map(|_| NewJob {
            queue: QueueName::Chat,
            ..NewJob::new(&Probe {
                sleep_ms: 20,
                ..probe(Some(noisy.business_id))
            })
        })
        .collect();
    insert(&platform, &flood).await;
    eventually("the flood is under way", async || {
        (unfinished(&platform).await < 4_990).then_some(())
    })
    .await;

    platform.say(1, "Bonjour").await;
    assert!(
        platform
            .manychat
            .wait_until(dev::testing::PATIENCE, |delivered| !delivered.is_empty())
            .await
    );

    assert!(
        unfinished(&platform).await > 2_500,
        "the message did not wait for the flood to pass"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_picked_up_soon_however_long_the_queue_was_quiet() {
    let platform = setup().start().await;

    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(120)).await;
        let id = enqueue(&platform, &NewJob::new(&probe(None))).await;
        let asked = tokio::time::Instant::now();
        ended(&platform, id).await;
        // A lost wake-up would cost half a minute.
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{:?}",
            asked.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_takes_its_worker_down_is_dead_after_its_last_attempt() {
    let platform = Setup {
        workers: false,
        ..setup()
    }
    .start()
    .await;
    let deadly = NewJob::new(&Probe {
        sleep_ms: 60_000,
        ..probe(None)
    });
    insert(&platform, std::slice::from_ref(&deadly)).await;

    for attempt in 1..=3 {
        let mut worker = platform.spawn(&["workers", "--queues", "maintenance=2"]);
        eventually("the attempt runs", async || {
            let row: (String, i32) =
                sqlx::query_as("SELECT state::text, attempt FROM jobs WHERE id = $1")
                    .bind(deadly.id)
                    .fetch_one(&platform.owner)
                    .await
                    .unwrap();
            (row == ("running".to_owned(), attempt)).then_some(())
        })
        .await;
        worker.kill();
    }
    let _heir = platform.spawn(&["workers", "--queues", "maintenance=2"]);

    let (state, attempts, error) = ended(&platform, deadly.id).await;
    assert_eq!(
        (state.as_str(), attempts),
        ("dead", 4),
        "the fourth claim only buries it"
    );
    assert!(error.unwrap().contains("stopped answering"));
}
