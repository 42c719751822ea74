//! Every metric, with what it says: alert rules, dashboards and documentation name no others, and a test sees to it.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// How a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in seconds, or sizes, by bucket or quantile.
    Histogram,
}

use MetricKind::{Counter, Gauge, Histogram};

/// Name, kind and meaning of every metric.
pub const METRICS: [(&str, MetricKind, &str); 29] = [
    (
        "relais_ack_seconds",
        Histogram,
        "From a webhook's arrival to its answer",
    ),
    (
        "relais_http_seconds",
        Histogram,
        "Requests by operation and status class",
    ),
    (
        "relais_rate_limited_total",
        Counter,
        "Requests refused with 429, by the limit they met",
    ),
    (
        "relais_accepted_total",
        Counter,
        "Messages accepted: new, repeat or spooled",
    ),
    (
        "relais_spool_length",
        Gauge,
        "Accepted messages that wait in Redis for PostgreSQL to come back",
    ),
    (
        "relais_commit_jobs",
        Histogram,
        "Requests that shared one commit",
    ),
    ("relais_backlog_jobs", Gauge, "Due jobs that wait, by queue"),
    (
        "relais_backlog_age_seconds",
        Gauge,
        "How long the oldest due job has waited, by queue",
    ),
    (
        "relais_delayed_jobs",
        Gauge,
        "Jobs that are not due yet, by queue",
    ),
    ("relais_running_jobs", Gauge, "Jobs that run, by queue"),
    (
        "relais_longest_run_seconds",
        Gauge,
        "How long the longest attempt has run, by queue",
    ),
    (
        "relais_lease_overdue_seconds",
        Gauge,
        "How long ago the first lease ran out that nobody has freed, by queue",
    ),
    ("relais_dead_jobs", Gauge, "Dead jobs, by queue"),
    (
        "relais_queue_paused",
        Gauge,
        "1 while a person has paused the queue, else 0",
    ),
    (
        "relais_queue_slots",
        Gauge,
        "Jobs that the worker processes together run at once, by queue",
    ),
    (
        "relais_worker_processes",
        Gauge,
        "Worker processes that announce themselves",
    ),
    (
        "relais_business_backlog_jobs",
        Gauge,
        "Due jobs that wait, by business and queue: those whose oldest waits longest",
    ),
    (
        "relais_business_backlog_age_seconds",
        Gauge,
        "How long the oldest due job has waited, by business and queue: those that wait longest",
    ),
    (
        "relais_backlogs_measured_total",
        Counter,
        "Times the scheduler measured the backlogs, by outcome",
    ),
    (
        "relais_jobs_total",
        Counter,
        "Attempts ended, by kind and outcome",
    ),
    ("relais_job_seconds", Histogram, "Attempts, by kind"),
    (
        "relais_job_wait_seconds",
        Histogram,
        "From when a job was to run to its start, by kind",
    ),
    (
        "relais_jobs_orphaned_total",
        Counter,
        "Jobs whose worker stopped answering, by kind",
    ),
    (
        "relais_dispatched_jobs_total",
        Counter,
        "Jobs the dispatcher offered to Redis, by queue",
    ),
    (
        "relais_dispatch_seconds",
        Histogram,
        "How long a round of the dispatcher took, by queue",
    ),
    (
        "relais_consumer_restarts_total",
        Counter,
        "Consumers restarted after an error, by queue",
    ),
    (
        "relais_turn_seconds",
        Histogram,
        "Turns by stage: gather, retrieve, model, commit",
    ),
    (
        "relais_provider_seconds",
        Histogram,
        "Calls to outside services by provider and outcome",
    ),
    (
        "relais_deliveries_total",
        Counter,
        "Calls to channels by channel and outcome",
    ),
];

/// Tells whoever scrapes what each metric says.
pub(super) fn describe() {
    for (name, kind, meaning) in METRICS {
        match kind {
            Counter => describe_counter!(name, meaning),
            Gauge => describe_gauge!(name, meaning),
            Histogram => describe_histogram!(name, meaning),
        }
    }
}
