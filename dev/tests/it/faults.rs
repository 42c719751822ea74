//! What was acknowledged is processed: processes killed, Redis emptied, stopped or stalled, PostgreSQL restarted.

use std::time::Duration;

use common::database::Lines;
use dev::testing::{Platform, Setup, eventually};
use fred::interfaces::ClientLike;
use futures::future::join_all;
use rustix::process::Signal;

use crate::conversation::{assert_in_order, settled};

/// Sends `each` messages from each of `contacts`, contacts at once, a contact's one after the other.
async fn talk(platform: &Platform, contacts: u64, each: usize, pause: Duration) {
    join_all((1..=contacts).map(|contact| async move {
        for n in 0..each {
            platform.say(contact, &format!("Bonjour {n}")).await;
            tokio::time::sleep(pause).await;
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_ten_times_loses_nothing_and_keeps_the_order() {
    let platform = Setup {
        workers: false,
        ..crate::setup()
    }
    .start()
    .await;
    let talking = talk(&platform, 10, 12, Duration::from_millis(250));
    let killing = async {
        for _ in 0..10 {
            let mut worker = platform.spawn(&["workers", "--queues", "chat=8,delivery=4"]);
            tokio::time::sleep(Duration::from_millis(350)).await;
            worker.kill();
        }
    };
    tokio::join!(talking, killing);

    let _last = platform.spawn(&["workers", "--queues", "chat=8,delivery=4"]);
    settled(&platform, 120).await;

    assert_no_loss(&platform, 10, 12).await;
}

/// Nothing is lost and the order holds; a text arrived twice only where a call's outcome was unknown, which is on record.
async fn assert_no_loss(platform: &Platform, contacts: u64, each: usize) {
    let doubtful: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM delivery_attempts WHERE coalesce(outcome, 'unknown') = 'unknown'",
    )
    .fetch_one(&platform.owner)
    .await
    .unwrap();
    let answers: i64 = sqlx::query_scalar("SELECT count(*) FROM deliveries")
        .fetch_one(&platform.owner)
        .await
        .unwrap();
    let delivered = i64::try_from(platform.manychat.delivered().len()).unwrap();
    assert!(
        (answers..=answers + doubtful).contains(&delivered),
        "{answers} answers, {delivered} delivered, {doubtful} in doubt"
    );
    if doubtful == 0 {
        assert_in_order(platform, contacts, each).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_was_frozen_and_wakes_up_changes_nothing() {
    let platform = Setup {
        workers: false,
        ..crate::setup()
    }
    .start()
    .await;
    let frozen = platform.spawn(&["workers", "--queues", "chat=8,delivery=4"]);
    platform.say(1, "Bonjour 0").await;
    settled(&platform, 1).await;
    talk(&platform, 5, 4, Duration::ZERO).await;
    frozen.signal(Signal::STOP);

    let _other = platform.spawn(&["workers", "--queues", "chat=8,delivery=4"]);
    settled(&platform, 21).await;
    let delivered = platform.manychat.delivered().len();
    frozen.signal(Signal::CONT);
    platform.say(9, "Bonjour 0").await;
    settled(&platform, 22).await;

    let doubtful: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM delivery_attempts WHERE coalesce(outcome, 'unknown') = 'unknown'",
    )
    .fetch_one(&platform.owner)
    .await
    .unwrap();
    let after = platform.manychat.delivered().len();
    assert!(
        after <= delivered + 1 + usize::try_from(doubtful).unwrap(),
        "{delivered} then {after}, {doubtful} in doubt"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emptying_redis_loses_nothing() {
    let platform = crate::setup().start().await;
    let redis = common::redis::connect(&platform.config.stores.redis_url).unwrap();
    let talking = talk(&platform, 10, 10, Duration::from_millis(60));
    let emptying = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(130)).await;
            redis.flushall::<()>(false).await.ok();
        }
    };
    tokio::join!(talking, emptying);

    settled(&platform, 100).await;
    assert_in_order(&platform, 10, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_stopped_for_five_seconds_delays_and_loses_nothing() {
    let mut platform = crate::setup().start().await;
    talk(&platform, 5, 2, Duration::ZERO).await;
    platform.redis.stop().await;

    for contact in 1..=5 {
        platform.say(contact, "Bonjour 2").await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    platform.redis.start_again().await.unwrap();

    settled(&platform, 15).await;
    assert_in_order(&platform, 5, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_of_redis_of_800_ms_stops_no_worker() {
    let platform = Setup {
        workers: false,
        ..crate::setup()
    }
    .start()
    .await;
    let mut worker = platform.spawn(&["workers", "--queues", "chat=8,delivery=4"]);
    platform.say(1, "Bonjour 0").await;
    settled(&platform, 1).await;

    platform.redis.pause();
    tokio::time::sleep(Duration::from_millis(800)).await;
    platform.redis.resume();
    platform.say(1, "Bonjour 1").await;

    settled(&platform, 2).await;
    assert!(worker.is_running());
    assert_in_order(&platform, 1, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_acknowledged_while_postgresql_is_away_and_answered_after() {
    let mut platform = Setup {
        own_postgres: true,
        ..crate::setup()
    }
    .start()
    .await;
    talk(&platform, 3, 1, Duration::ZERO).await;
    settled(&platform, 3).await;
    platform.postgres.as_mut().unwrap().stop().await;

    for contact in 1..=3 {
        platform.say(contact, "Bonjour 1").await;
    }
    platform
        .postgres
        .as_mut()
        .unwrap()
        .start_again()
        .await
        .unwrap();
    for contact in 1..=3 {
        platform.say(contact, "Bonjour 2").await;
    }

    settled(&platform, 9).await;
    assert_in_order(&platform, 3, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_asked_to_stop_finishes_what_it_runs_and_another_goes_on() {
    let platform = Setup {
        workers: false,
        ..crate::setup()
    }
    .start()
    .await;
    let mut first = platform.spawn(&["workers", "--queues", "chat=8,delivery=4"]);
    platform.say(1, "Bonjour 0").await;
    settled(&platform, 1).await;
    talk(&platform, 8, 3, Duration::ZERO).await;

    assert!(first.terminate().success());
    let running: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE state = 'running'")
        .fetch_one(&platform.owner)
        .await
        .unwrap();
    assert_eq!(running, 0, "nothing is left behind");

    let _second = platform.spawn(&["workers", "--queues", "chat=8,delivery=4"]);
    settled(&platform, 25).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_workers_jobs_move_again_within_three_seconds() {
    let platform = Setup {
        workers: false,
        vars: vec![("RELAIS_BURST_QUIET_MS".into(), "0".into())],
        ..crate::setup()
    }
    .start()
    .await;
    let mut doomed = platform.spawn(&["workers", "--queues", "maintenance=4"]);
    let job = common::queue::NewJob::new(&common::queue::jobs::Probe {
        sleep_ms: 1_500,
        ..common::queue::jobs::Probe::default()
    });
    let mut tx = common::database::platform(&platform.pool).await.unwrap();
    common::queue::enqueue(&mut tx, &job, platform.clock.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let attempt = async |platform: &Platform| -> (i32, String) {
        sqlx::query_as("SELECT attempt, state::text FROM jobs WHERE id = $1")
            .bind(job.id)
            .fetch_one(&platform.owner)
            .await
            .unwrap()
    };
    eventually("it runs", async || {
        (attempt(&platform).await == (1, "running".to_owned())).then_some(())
    })
    .await;

    let _heir = platform.spawn(&["workers", "--queues", "maintenance=4"]);
    doomed.kill();
    let killed = tokio::time::Instant::now();
    eventually("it runs again", async || {
        (attempt(&platform).await.0 == 2).then_some(())
    })
    .await;

    assert!(
        killed.elapsed() < Duration::from_millis(3_500),
        "{:?}",
        killed.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_kept_and_one_that_was_cut_or_given_up_is_replaced() {
    let platform = Setup {
        ingresses: 0,
        workers: false,
        scheduler: false,
        ..crate::setup()
    }
    .start()
    .await;
    let lines = Lines::beside(&platform.pool);
    let session = async || {
        let mut tx = lines.platform_relaxed().await.unwrap();
        let seen: (i32, String, String) = sqlx::query_as(
            "SELECT pg_backend_pid(), current_user::text, current_setting('plan_cache_mode')",
        )
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(
            (seen.1.as_str(), seen.2.as_str()),
            ("relais_platform", "force_generic_plan")
        );
        seen.0
    };

    let kept = session().await;
    assert_eq!(session().await, kept);

    drop(lines.platform().await.unwrap());
    let after_one_given_up = session().await;
    assert_ne!(after_one_given_up, kept);

    sqlx::query("SELECT pg_terminate_backend($1)")
        .bind(after_one_given_up)
        .execute(&platform.owner)
        .await
        .unwrap();
    assert_ne!(session().await, after_one_given_up);
}
