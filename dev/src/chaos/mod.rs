//! The promises proved by breaking things: real servers, real processes, a record of its own, and defects planted on
//! purpose to see whether the checks would notice.

pub mod checks;
pub mod disk;
pub mod facts;
pub mod fault;
pub mod gather;
pub mod history;
pub mod load;
pub mod looks;
pub mod mutants;
pub mod processes;
pub mod proxy;
pub mod report;
pub mod samples;
pub mod scenes;
pub mod shim;
pub mod trial;
pub mod watch;
pub mod world;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fault::Fault;
use mutants::{Case, Caught};
use report::{Judged, Report, say};
use scenes::Scene;
use world::Plan;

/// How long things are broken at random.
const MIX: (Duration, Duration) = (Duration::from_secs(24), Duration::from_mins(2));

/// Break things on purpose and see whether the promises hold; exits with 1 where one does not, or a defect escapes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What is random is so by this number; without it, by one that is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Faults mixed and all defects, in less than two minutes. Without it: each fault alone as well.
    #[arg(long)]
    short: bool,
    /// Only this fault or defect, or `mix`, or `mutants`, or `control` (the defects' scenes without them).
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// List what there is, and stop.
    #[arg(long)]
    list: bool,
    /// Write chaos.md, chaos.json, history.jsonl and the processes' logs into this folder.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }
}

/// Breaks things, and says what came of it.
///
/// # Errors
///
/// A promise that was broken, a defect that escaped, or what kept the harness from working.
pub async fn run(options: Options) -> Result<(), String> {
    if options.list {
        list();
        return Ok(());
    }
    if !cfg!(debug_assertions) {
        return Err("chaos needs a debug build: a release has no faults to plant".to_owned());
    }
    let seed = options
        .seed
        .unwrap_or_else(|| rand::random_range(1..1_000_000));
    say(&format!("seed {seed}"));
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let plan = Plan::new(program);
    let begun = Instant::now();
    let mut report = Report {
        seed,
        short: options.short,
        trials: Vec::new(),
        caught: Vec::new(),
        control: Vec::new(),
        skipped: Vec::new(),
        took: Duration::ZERO,
    };
    defects(&options, &plan, &mut report).await;
    trials(&options, &plan, &mut report).await?;
    report.took = begun.elapsed();
    if report.trials.is_empty() && report.caught.is_empty() && report.control.is_empty() {
        return Err("there is nothing of that name: see --list".to_owned());
    }
    if let Some(folder) = &options.report {
        report
            .write(folder)
            .map_err(|error| format!("the report was not written: {error}"))?;
    }
    let (caught, all) = report.score();
    say(&format!(
        "caught {caught} of {all}; {:.0} s; seed {seed}",
        report.took.as_secs_f64()
    ));
    let idle = report.idle();
    if options.only.is_none() && !idle.is_empty() {
        return Err(format!("nothing was judged of: {}", idle.join("; ")));
    }
    if report.is_well() {
        Ok(())
    } else {
        Err(format!(
            "a promise is broken or a defect escaped: again with --seed {seed}"
        ))
    }
}

fn list() {
    say("Faults:");
    for fault in Fault::ALL {
        say(&format!("  {:24} {}", fault.as_str(), fault.about()));
    }
    say(&format!(
        "  {:24} un-synchronised writes of PostgreSQL are lost",
        disk::POWER_CUT
    ));
    say(&format!(
        "  {:24} the data folder takes no more",
        disk::DISK_FULL
    ));
    say("Defects:");
    for case in mutants::cases() {
        say(&format!(
            "  {:24} found by: {}",
            case.name,
            case.check.promise()
        ));
    }
}

/// Plays the defects' scenes, with them and, in the long form, without.
async fn defects(options: &Options, plan: &Plan, report: &mut Report) {
    let everything = options.wants("mutants");
    let wanted = |case: &Case| everything || options.wants(case.name);
    let no_shim = shim::Shim::build().err();
    let mut cases: Vec<Case> = mutants::cases().into_iter().filter(wanted).collect();
    if let Some(reason) = &no_shim {
        cases.retain(|case| case.scene != Scene::PowerCut);
        report
            .skipped
            .push(format!("defects that a power cut shows: {reason}"));
    }
    if !cases.is_empty() {
        report.caught = mutants::play(cases, plan, true).await;
        for caught in &report.caught {
            say_caught(caught);
        }
    }
    if options.only.as_deref() == Some("control") || options.only.is_none() && !options.short {
        let mut cases = mutants::cases();
        cases.retain(|case| no_shim.is_none() || case.scene != Scene::PowerCut);
        report.control = mutants::play(cases, plan, false).await;
        for control in &report.control {
            say_control(control);
        }
    }
}

fn say_caught(caught: &Caught) {
    let name = caught.case.name;
    match (caught.example(), &caught.failed) {
        (Some(example), _) => say(&format!("caught  {name}: {example}")),
        (None, Some(failed)) => say(&format!("FAILED  {name}: {failed}")),
        (None, None) => say(&format!("ESCAPED {name}; found instead: {:?}", caught.by)),
    }
}

fn say_control(control: &Caught) {
    let name = control.case.name;
    if let Some(failed) = &control.failed {
        say(&format!("FAILED  the scene of {name}: {failed}"));
    } else if control.by.is_empty() {
        say(&format!(
            "quiet   the scene of {name} without it, judged by {:?}",
            control.judged
        ));
    } else {
        say(&format!(
            "FALSE   the scene of {name} without it: {:?}",
            control.by
        ));
    }
}

/// Runs under load with faults.
async fn trials(options: &Options, plan: &Plan, report: &mut Report) -> Result<(), String> {
    let alone = Fault::ALL.iter().filter(|fault| match &options.only {
        Some(only) => only == fault.as_str(),
        None => !options.short,
    });
    for fault in alone {
        let plan = logged(options, plan, fault.as_str())?;
        let trial = Box::pin(trial::alone(*fault, plan, report.seed)).await;
        judge(report, fault.as_str(), trial)?;
    }
    for name in [disk::POWER_CUT, disk::DISK_FULL] {
        if !options.wants(name) {
            continue;
        }
        if let Err(reason) = shim::Shim::build() {
            report.skipped.push(format!("{name}: {reason}"));
            continue;
        }
        let plan = logged(options, plan, name)?;
        let trial = if name == disk::POWER_CUT {
            Box::pin(disk::power_cut(plan)).await
        } else {
            Box::pin(disk::disk_full(plan)).await
        };
        judge(report, name, trial)?;
    }
    if options.wants("mix") {
        let lasts = if options.short { MIX.0 } else { MIX.1 };
        let plan = logged(options, plan, "mix")?;
        let trial = Box::pin(trial::mix(plan, report.seed, lasts, options.short)).await;
        judge(report, "mix", trial)?;
    }
    Ok(())
}

fn judge(
    report: &mut Report,
    name: &str,
    trial: Result<trial::Trial, String>,
) -> Result<(), String> {
    let judged = Judged::of(trial.map_err(|error| format!("{name}: {error}"))?);
    judged.say();
    report.trials.push(judged);
    Ok(())
}

/// `plan`, with the processes' logs beside the report.
fn logged(options: &Options, plan: &Plan, name: &str) -> Result<Plan, String> {
    let logs = options
        .report
        .as_ref()
        .map(|folder| folder.join("logs").join(name));
    if let Some(folder) = &logs {
        std::fs::create_dir_all(folder).map_err(|error| format!("no folder for logs: {error}"))?;
    }
    Ok(Plan {
        logs,
        ..plan.clone()
    })
}
