//! Metrics: whatever rules, dashboard and documentation name exists, and whatever exists is documented.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};

use common::queue::NewJob;
use common::queue::jobs::Probe;
use common::telemetry::METRICS;
use dev::simulators::openai::OpenAiSimulator;
use dev::testing::{PATIENCE, Setup, eventually};

const RULES: &str = include_str!("../../../ops/prometheus/rules.yaml");
const RULES_TEST: &str = include_str!("../../../ops/prometheus/rules_test.yaml");
const DASHBOARD: &str = include_str!("../../../ops/grafana/dashboards/relais.json");
const OPERATIONS: &str = include_str!("../../../docs/operations.md");

/// Only at a mishap that is not cheap to have here.
const SELDOM: [&str; 2] = [
    "relais_consumer_restarts_total",
    "relais_rate_limited_total",
];

/// Words of the documentation that begin as metrics do: roles.
const NO_METRICS: [&str; 3] = ["relais_app", "relais_owner", "relais_platform"];

/// An address nobody listens at.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// What the process at `address` tells, once it does.
pub(crate) async fn scrape(http: &reqwest::Client, address: SocketAddr) -> Option<String> {
    let response = http.get(format!("http://{address}/metrics")).send().await;
    response.ok()?.text().await.ok()
}

/// The metrics that `text` names, without what an exposition adds to a histogram's name.
fn named(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("relais_") && !NO_METRICS.contains(word))
        .map(|word| {
            let suffixes = ["_bucket", "_count", "_sum"];
            let base = suffixes.iter().find_map(|suffix| word.strip_suffix(suffix));
            base.unwrap_or(word)
        })
        .collect()
}

fn declared() -> BTreeSet<&'static str> {
    METRICS.iter().map(|(name, ..)| *name).collect()
}

#[test]
fn rules_dashboard_and_documentation_name_metrics_that_are_declared() {
    let declared = declared();
    for (file, text) in [
        ("rules.yaml", RULES),
        ("rules_test.yaml", RULES_TEST),
        ("relais.json", DASHBOARD),
        ("operations.md", OPERATIONS),
    ] {
        let unknown: Vec<_> = named(text).difference(&declared).copied().collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
    }
    let told = named(OPERATIONS);
    let untold: Vec<_> = declared.difference(&told).collect();
    assert!(untold.is_empty(), "operations.md does not name {untold:?}");
}

#[test]
fn every_alert_has_its_runbook_and_its_test() {
    let alerts = RULES
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        assert!(
            OPERATIONS.contains(&format!("### {alert}\n")),
            "{alert} has no runbook"
        );
        let anchor = format!("runbook: docs/operations.md#{}\n", alert.to_lowercase());
        assert!(RULES.contains(&anchor), "{alert} does not name its runbook");
        assert!(RULES_TEST.contains(alert), "{alert} has no test");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_processes_tell_is_what_is_declared() {
    let key = "sk-metrics-0123456789abcdef";
    let openai = OpenAiSimulator::start(SocketAddr::from(([127, 0, 0, 1], 0)), "/v1", key)
        .await
        .unwrap();
    let vars = [
        ("OPENAI_API_KEY", key),
        ("OPENAI_BASE_URL", openai.base_url()),
        ("CHAT_PROVIDERS", "openai"),
    ];
    // Processes of their own: this one's metrics are those of all tests.
    let mut platform = Setup {
        vars: vars
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ingresses: 0,
        workers: false,
        scheduler: false,
        ..crate::setup()
    }
    .start()
    .await;
    let addresses = [free_address(), free_address(), free_address()];
    let [ingress, workers, scheduler] = addresses.map(|address| address.to_string());
    let _ingress = platform.spawn_with(&["ingress"], &[("RELAIS_BIND", &ingress)]);
    let mut first_workers = platform.spawn(&["workers", "--queues", "maintenance=1"]);
    let _scheduler = platform.spawn_with(&["scheduler"], &[("RELAIS_OPERATIONS_BIND", &scheduler)]);
    platform.ingresses = vec![addresses[0]];

    // A worker that dies at its work, then others that do theirs while somebody waits.
    let deadly = NewJob::new(&Probe {
        business_id: Some(platform.business.business_id),
        sleep_ms: 1_900,
        ..Probe::default()
    });
    let mut tx = common::database::platform(&platform.pool).await.unwrap();
    common::database::jobs::insert(&mut tx, &deadly, platform.clock.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    eventually("the job runs", async || {
        let running: bool = sqlx::query_scalar("SELECT state = 'running' FROM jobs WHERE id = $1")
            .bind(deadly.id)
            .fetch_one(&platform.owner)
            .await
            .unwrap();
        running.then_some(())
    })
    .await;
    first_workers.kill();
    eventually("the ingress and the scheduler tell", async || {
        scrape(&platform.http, addresses[0]).await?;
        let told = scrape(&platform.http, addresses[2]).await?;
        let both = told.contains("relais_business_backlog") && told.contains("_orphaned_total{");
        both.then_some(())
    })
    .await;
    let _workers = platform.spawn_with(&["workers"], &[("RELAIS_OPERATIONS_BIND", &workers)]);
    platform.say(1, "Bonjour").await;
    assert!(
        platform
            .manychat
            .wait_until(PATIENCE, |delivered| !delivered.is_empty())
            .await
    );

    let expected: BTreeSet<&str> = declared()
        .into_iter()
        .filter(|name| !SELDOM.contains(name))
        // Told above; nobody waits any more.
        .filter(|name| !name.starts_with("relais_business_"))
        .collect();
    let mut missing = BTreeSet::new();
    let told = async || {
        let mut all = String::new();
        for address in addresses {
            all += &scrape(&platform.http, address).await?;
        }
        Some(all)
    };
    let all = eventually("every metric is told", async || {
        let all = told().await?;
        missing = expected
            .difference(&named(&all))
            .map(|name| (*name).to_owned())
            .collect();
        if !missing.is_empty() {
            tracing::info!(?missing);
        }
        missing.is_empty().then_some(all)
    })
    .await;
    let undeclared: Vec<_> = named(&all).difference(&declared()).copied().collect();
    assert!(undeclared.is_empty(), "{undeclared:?}");
}
