//! The operator's commands: the dead grouped and steered, queues held back, and of every waiting job why it waits.

use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

use crate::{insert, probe};
use common::domain::{BusinessId, JobId};
use common::queue::jobs::{Mishap, Probe};
use common::queue::{NewJob, QueueName};
use dev::simulators::openai::{Fault, OpenAiSimulator};
use dev::testing::{PATIENCE, Platform, Setup, eventually};
use serde_json::{Value, json};
use uuid::Uuid;

fn setup() -> Setup {
    crate::setup_for_probes(4)
}

/// A probe whose first `mishaps` attempts are refused.
fn refused(business_id: Option<BusinessId>, mishaps: i32) -> NewJob {
    NewJob::new(&Probe {
        mishap: Some(Mishap::Refusal),
        mishaps,
        ..probe(business_id)
    })
}

/// Runs `relais` as an operator does, who has no more than where the stores are.
async fn relais(platform: &Platform, args: &[&str]) -> Output {
    let stores = ["DATABASE_URL", "REDIS_URL"].map(|name| (name, platform.vars[name].clone()));
    tokio::process::Command::new(&platform.setup.program)
        .args(args)
        .env_clear()
        .envs(stores)
        .output()
        .await
        .unwrap()
}

/// What it writes, where it ends well.
async fn text(platform: &Platform, args: &[&str]) -> String {
    let output = relais(platform, args).await;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

async fn json(platform: &Platform, args: &[&str]) -> Value {
    let written = text(platform, &[args, &["--json"]].concat()).await;
    serde_json::from_str(&written).unwrap()
}

/// Its complaint, where it does not end well.
async fn complaint(platform: &Platform, args: &[&str]) -> String {
    let output = relais(platform, args).await;
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

async fn shown(platform: &Platform, id: JobId) -> Value {
    json(platform, &["jobs", "show", &id.to_string()]).await
}

/// The job once `look` likes it.
async fn shown_when(platform: &Platform, id: JobId, look: impl Fn(&Value) -> bool) -> Value {
    eventually("the job is shown as it should be", async || {
        let job = shown(platform, id).await;
        look(&job).then_some(job)
    })
    .await
}

async fn in_state(platform: &Platform, state: &str, count: i64) {
    eventually(&format!("{count} probes are {state}"), async || {
        let found: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM jobs WHERE kind = 'probe' AND state::text = $1",
        )
        .bind(state)
        .fetch_one(&platform.owner)
        .await
        .unwrap();
        (found == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dead_are_grouped_by_error_and_tried_again_one_or_many() {
    let platform = setup().start().await;
    let (ours, other) = (
        platform.business.business_id,
        platform.another_business("Autre").await.business_id,
    );
    let refused: Vec<NewJob> = [ours, ours, ours, other, other]
        .map(|business| refused(Some(business), 1))
        .into();
    let unread: Vec<NewJob> = [-1, -22, -333]
        .map(|sleep_ms| NewJob {
            args: json!({ "business_id": null, "sleep_ms": sleep_ms }),
            ..NewJob::new(&probe(None))
        })
        .into();
    insert(&platform, &refused).await;
    insert(&platform, &unread).await;
    in_state(&platform, "dead", 8).await;

    let groups = json(&platform, &["jobs", "dead"]).await;
    let groups = groups.as_array().unwrap();
    let told: Vec<(i64, i64)> = groups
        .iter()
        .map(|group| (group["jobs"].as_i64(), group["businesses"].as_i64()))
        .map(|(jobs, businesses)| (jobs.unwrap(), businesses.unwrap()))
        .collect();
    assert_eq!(told, [(5, 2), (3, 0)], "{groups:?}");
    assert_eq!(groups[0]["error"], "probe refused: as asked");
    let unread_error = groups[1]["error"].as_str().unwrap();
    assert!(unread_error.contains('#'), "{unread_error}");
    let fingerprint = groups[0]["fingerprint"].as_str().unwrap();
    let by_error = ["--dead", "--error", fingerprint];

    // One, by its id.
    let first = refused[0].id.to_string();
    let retried = json(&platform, &["jobs", "retry", &first, "--reason", "fixed"]).await;
    assert_eq!(retried["jobs"], 1);
    in_state(&platform, "succeeded", 1).await;
    let job = shown(&platform, refused[0].id).await;
    assert_eq!(
        (&job["attempt"], &job["note"]),
        (&json!(2), &json!("fixed"))
    );
    let left = complaint(&platform, &["jobs", "retry", &first]).await;
    assert!(left.contains(&format!("{first} is succeeded")), "{left}");

    // Those of one business; a dry run touches nothing.
    let business = other.to_string();
    let of_other = [
        &["jobs", "retry"],
        &by_error[..],
        &["--business", &business],
    ]
    .concat();
    let meant = json(&platform, &[&of_other[..], &["--dry-run"]].concat()).await;
    assert_eq!(meant["jobs"], 2);
    in_state(&platform, "dead", 7).await;
    assert_eq!(json(&platform, &of_other).await["jobs"], 2);
    in_state(&platform, "succeeded", 3).await;

    // A limit, then the rest of the error.
    let one = [&["jobs", "retry"], &by_error[..], &["--limit", "1"]].concat();
    assert_eq!(json(&platform, &one).await["jobs"], 1);
    let rest = [&["jobs", "retry"], &by_error[..], &["--rate", "0"]].concat();
    assert_eq!(json(&platform, &rest).await["jobs"], 1);
    in_state(&platform, "succeeded", 5).await;

    // What cannot be helped is discarded, and says why.
    let hopeless = [
        "jobs",
        "discard",
        "--dead",
        "--queue",
        "maintenance",
        "--kind",
        "probe",
        "--reason",
        "a bug of the caller",
    ];
    assert_eq!(json(&platform, &hopeless).await["jobs"], 3);
    let job = shown(&platform, unread[0].id).await;
    assert_eq!(job["state"], "cancelled");
    assert_eq!(job["note"], "a bug of the caller");
    assert!(job["last_error"].as_str().unwrap().contains("do not read"));
    assert!(
        text(&platform, &["jobs", "dead"])
            .await
            .contains("no job is dead")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cause_that_is_still_there_does_not_meet_all_that_are_tried_again_at_once() {
    let platform = setup().start().await;
    let jobs: Vec<NewJob> = (0..6).map(|_| refused(None, 99)).collect();
    insert(&platform, &jobs).await;
    in_state(&platform, "dead", 6).await;

    let report = text(&platform, &["jobs", "retry", "--dead", "--rate", "1"]).await;
    assert!(
        report.contains("6 jobs tried again, the last of them in 5 s"),
        "{report}"
    );

    let listed = json(
        &platform,
        &["jobs", "list", "--kind", "probe", "--state", "queued"],
    )
    .await;
    let waiting = listed.as_array().unwrap();
    assert!(waiting.len() >= 2, "the last ones still wait: {listed}");
    // One may have begun since it was listed: then it waits no more, and has no reason to.
    let reasons: Vec<&str> = waiting
        .iter()
        .filter_map(|job| job["wait_reason"].as_str())
        .collect();
    assert!(reasons.len() + 1 >= waiting.len(), "{listed}");
    for reason in reasons {
        assert!(reason.contains("tried again by hand"), "{reason}");
    }
    // Each has the attempts of its kind again, whatever it used up.
    for job in waiting {
        let used = job["attempt"].as_i64().unwrap();
        assert_eq!(job["max_attempts"], used + 3, "{job}");
    }
    in_state(&platform, "dead", 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_queue_starts_nothing_and_says_why_and_goes_on_when_resumed() {
    let platform = setup().start().await;
    let business = platform.business.business_id;
    let pause = [
        "queues",
        "pause",
        "maintenance",
        "--reason",
        "the bucket of Café X is moved",
    ];
    assert!(text(&platform, &pause).await.contains("maintenance paused"));
    assert!(text(&platform, &pause).await.contains("paused already"));
    let mishap = NewJob::new(&probe(Some(business)));
    insert(&platform, std::slice::from_ref(&mishap)).await;

    let job = shown(&platform, mishap.id).await;
    assert_eq!(job["state"], "queued");
    assert_eq!(job["wait_codes"], json!(["queue_paused"]));
    let reason = job["wait_reason"].as_str().unwrap();
    assert!(reason.contains("the bucket of Café X is moved"), "{reason}");
    let queues = json(&platform, &["queues"]).await;
    let queue = queue_of(&queues, "maintenance");
    assert_eq!(queue["paused_reason"], "the bucket of Café X is moved");
    assert_eq!(queue["slots"], 4);

    // Its owner learns that, and not what operators write to each other.
    let own = platform
        .get_json(&format!("/api/v1/jobs/{}", mishap.id))
        .await;
    let reason = own["wait_reason"].as_str().unwrap();
    assert!(reason.contains("maintenance is paused since"), "{reason}");
    assert!(!reason.contains("Café X"), "{reason}");

    assert!(
        text(&platform, &["queues", "resume", "maintenance"])
            .await
            .contains("goes on")
    );
    in_state(&platform, "succeeded", 1).await;
    let own = platform
        .get_json(&format!("/api/v1/jobs/{}", mishap.id))
        .await;
    assert_eq!(own["wait_reason"], Value::Null, "it does not wait: {own}");
    assert!(
        complaint(
            &platform,
            &["queues", "pause", "documnets", "--reason", "x"]
        )
        .await
        .contains("is no queue")
    );
}

fn queue_of<'a>(queues: &'a Value, name: &str) -> &'a Value {
    let queues = queues.as_array().unwrap();
    queues.iter().find(|queue| queue["queue"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_what_runs_and_names_what_still_does() {
    let key = "sk-drain-0123456789abcdef";
    let openai = OpenAiSimulator::start(SocketAddr::from(([127, 0, 0, 1], 0)), "/v1", key)
        .await
        .unwrap();
    let vars = [
        ("OPENAI_API_KEY", key),
        ("OPENAI_BASE_URL", openai.base_url()),
        ("CHAT_PROVIDERS", "openai"),
        ("MODEL_TIMEOUT_SECONDS", "8"),
    ];
    let platform = Setup {
        vars: vars
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..setup()
    }
    .start()
    .await;
    openai.fail_next([Fault::Silent]);
    platform.say(1, "Combien coûte la livraison ?").await;
    eventually("the model is asked", async || {
        (!openai.chats().is_empty()).then_some(())
    })
    .await;

    let drain = [
        "queues",
        "drain",
        "chat",
        "--reason",
        "deployment",
        "--timeout",
        "0",
    ];
    let output = relais(&platform, &drain).await;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(!output.status.success());
    assert!(
        out.contains("take_turn") && err.contains("still run"),
        "{out} {err}"
    );

    let drained = text(&platform, &["queues", "drain", "chat", "--timeout", "25"]).await;
    assert!(drained.contains("nothing of it runs"), "{drained}");
    assert!(platform.manychat.delivered().is_empty());

    text(&platform, &["queues", "resume", "chat"]).await;
    assert!(
        platform
            .manychat
            .wait_until(PATIENCE, |delivered| !delivered.is_empty())
            .await
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_waiting_job_says_why() {
    let platform = setup().start().await;
    let business = platform.business.business_id;
    let later =
        NewJob::new(&probe(Some(business))).at(platform.clock.now() + chrono::TimeDelta::hours(1));
    let unserved = NewJob {
        queue: QueueName::Documents,
        ..NewJob::new(&probe(Some(business)))
    };
    let unknown = NewJob {
        kind: "brew_coffee".to_owned(),
        ..NewJob::new(&probe(None))
    };
    insert(
        &platform,
        &[later.clone(), unserved.clone(), unknown.clone()],
    )
    .await;

    for (job, code, words) in [
        (&later, "not_due", "not due until"),
        (
            &unserved,
            "queue_unserved",
            "no worker serves its queue documents",
        ),
        (&unknown, "unknown_kind", "knows its kind brew_coffee"),
    ] {
        // A worker may hold it just then, to find that it does not know its kind.
        let job = eventually("it waits", async || {
            let job = shown(&platform, job.id).await;
            job["wait_codes"].is_array().then_some(job)
        })
        .await;
        assert_eq!(job["wait_codes"][0], code, "{job}");
        let reason = job["wait_reason"].as_str().unwrap();
        assert!(reason.contains(words), "{reason}");
    }
    for job in [&later, &unserved] {
        let own = platform.get_json(&format!("/api/v1/jobs/{}", job.id)).await;
        assert!(own["wait_reason"].is_string(), "{own}");
    }

    // A flood of one business through four slots, beside one job of another.
    let flood: Vec<NewJob> = (0..60)
        .map(|_| {
            NewJob::new(&Probe {
                sleep_ms: 700,
                ..probe(Some(business))
            })
        })
        .collect();
    insert(&platform, &flood).await;
    eventually("the flood runs", async || {
        let queues = json(&platform, &["queues"]).await;
        (queue_of(&queues, "maintenance")["running"].as_i64()? > 0).then_some(())
    })
    .await;
    let waiting = json(
        &platform,
        &[
            "jobs",
            "list",
            "--kind",
            "probe",
            "--state",
            "queued,failed",
        ],
    );
    let waiting = waiting.await;
    let of_flood: Vec<&Value> = waiting
        .as_array()
        .unwrap()
        .iter()
        .filter(|job| job["queue"] == "maintenance" && job["id"] != json!(later.id))
        .collect();
    assert!(!of_flood.is_empty());
    let turns = ["offered", "all_busy", "share_taken", "behind", "next"];
    for job in of_flood {
        // One that began to run between the two looks waits no more.
        if let Some(code) = job["wait_codes"][0].as_str() {
            assert!(turns.contains(&code), "{job}");
        }
    }
    let last = flood.last().unwrap().id;
    let own = platform.get_json(&format!("/api/v1/jobs/{last}")).await;
    assert!(own["wait_reason"].is_string(), "{own}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_worker_died_says_so_and_one_that_nobody_dispatches() {
    let platform = Setup {
        workers: false,
        ..setup()
    }
    .start()
    .await;
    let deadly = NewJob::new(&Probe {
        sleep_ms: 1_900,
        ..probe(None)
    });
    let mut worker = platform.spawn(&["workers", "--queues", "maintenance=1"]);
    insert(&platform, std::slice::from_ref(&deadly)).await;
    shown_when(&platform, deadly.id, |job| job["state"] == "running").await;
    let processes = json(&platform, &["processes"]).await;
    assert_eq!(processes[0]["slots"], json!({ "maintenance": 1 }));
    worker.kill();

    let job = shown_when(&platform, deadly.id, |job| job["state"] == "failed").await;
    let reason = job["wait_reason"].as_str().unwrap();
    assert!(
        reason.contains("attempt 1 of 3 failed: its worker stopped answering"),
        "{reason}"
    );
    // Its announcement is believed for ten seconds.
    let job = shown_when(&platform, deadly.id, |job| {
        job["wait_codes"] == json!(["queue_unserved"])
    });
    job.await;
    assert!(
        text(&platform, &["processes"])
            .await
            .contains("no worker process")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_scheduler_a_due_job_says_that_nobody_offers_it() {
    let platform = Setup {
        scheduler: false,
        ..setup()
    }
    .start()
    .await;
    let forgotten = NewJob::new(&probe(None));
    insert(&platform, std::slice::from_ref(&forgotten)).await;

    let job = shown_when(&platform, forgotten.id, |job| {
        job["wait_codes"] == json!(["not_dispatched"])
    })
    .await;
    let reason = job["wait_reason"].as_str().unwrap();
    assert!(reason.contains("does a scheduler run?"), "{reason}");
    let schedules = text(&platform, &["schedules"]).await;
    assert!(schedules.contains("purge_jobs"), "{schedules}");
    assert!(schedules.contains("not enqueued"), "{schedules}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_exist_is_told_and_a_waiting_job_can_be_called_off() {
    let platform = setup().start().await;
    let nobody = Uuid::now_v7().to_string();
    for args in [["jobs", "show", &nobody], ["jobs", "discard", &nobody]] {
        let words = complaint(&platform, &args).await;
        assert!(words.contains(&nobody), "{words}");
    }
    let both = ["jobs", "retry", &nobody, "--queue", "chat"];
    let words = complaint(&platform, &both).await;
    assert!(words.contains("go with --dead"), "{words}");
    let neither = complaint(&platform, &["jobs", "retry"]).await;
    assert!(neither.contains("required"), "{neither}");

    let later = NewJob::new(&probe(None)).at(platform.clock.now() + chrono::TimeDelta::hours(1));
    insert(&platform, std::slice::from_ref(&later)).await;
    let id = later.id.to_string();
    let report = text(
        &platform,
        &["jobs", "discard", &id, "--reason", "not wanted"],
    )
    .await;
    assert!(report.contains("1 job discarded"), "{report}");
    let card = text(&platform, &["jobs", "show", &id]).await;
    assert!(
        card.contains("cancelled") && card.contains("not wanted"),
        "{card}"
    );
    assert!(!card.contains("arguments"), "{card}");
    let card = text(&platform, &["jobs", "show", &id, "--args"]).await;
    assert!(card.contains("sleep_ms"), "{card}");

    let schedules = eventually("the first ticks are enqueued", async || {
        let schedules = json(&platform, &["schedules"]).await;
        let all = schedules.as_array()?;
        all.iter()
            .all(|schedule| schedule["last_job"].is_string())
            .then(|| schedules.clone())
    })
    .await;
    assert_eq!(schedules[0]["name"], "purge_jobs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backlogs_by_business_appear_and_go_away() {
    let platform = Setup {
        workers: false,
        scheduler: false,
        ..setup()
    }
    .start()
    .await;
    let address = crate::metrics::free_address();
    let bind = address.to_string();
    let _scheduler = platform.spawn_with(&["scheduler"], &[("RELAIS_OPERATIONS_BIND", &bind)]);
    let business = platform.business.business_id;
    insert(&platform, &[NewJob::new(&probe(Some(business)))]).await;
    let series = format!("business=\"{business}\"");

    let scrape = async || crate::metrics::scrape(&platform.http, address).await;
    let told = eventually("the business's backlog is told", async || {
        let told = scrape().await?;
        told.contains(&series).then_some(told)
    })
    .await;
    assert!(
        told.contains("relais_business_backlog_age_seconds{"),
        "{told}"
    );
    assert!(
        told.contains("relais_queue_paused{queue=\"chat\"} 0"),
        "{told}"
    );

    text(
        &platform,
        &["queues", "pause", "chat", "--reason", "a test"],
    )
    .await;
    sqlx::query("UPDATE jobs SET state = 'cancelled', finished_at = now(), expires_at = now()")
        .execute(&platform.owner)
        .await
        .unwrap();
    // Gauges that nobody sets any more outlive their last value by a few measurements.
    let deadline = tokio::time::Instant::now() + 2 * PATIENCE;
    loop {
        let told = scrape().await.unwrap();
        if !told.contains(&series) && told.contains("relais_queue_paused{queue=\"chat\"} 1") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{told}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
