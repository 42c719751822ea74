//! What the harness says: lines as it goes, `chaos.md`, `chaos.json` and `history.jsonl` in the end.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::checks::{Check, Verdict};
use super::history;
use super::mutants::Caught;
use super::trial::Trial;

/// A trial with what the checks say of it.
pub struct Judged {
    trial: Trial,
    verdicts: Vec<(Check, Verdict)>,
}

impl Judged {
    /// Asks every check.
    pub fn of(trial: Trial) -> Self {
        let verdicts = Check::ALL.map(|check| (check, check.judge(&trial.facts)));
        Self {
            trial,
            verdicts: verdicts.into(),
        }
    }

    /// Whether every promise was kept.
    pub fn is_kept(&self) -> bool {
        self.verdicts.iter().all(|(_, it)| it.violations.is_empty())
    }

    /// A line, and what is wrong below it.
    pub fn say(&self) {
        let facts = &self.trial.facts;
        say(&format!(
            "{} {}: {} acknowledged, {} model calls, {} delivered, {:.1} s",
            if self.is_kept() { "kept  " } else { "BROKEN" },
            self.trial.name,
            facts.acknowledged.len(),
            facts.calls.len(),
            facts.delivered.len(),
            self.trial.took.as_secs_f64(),
        ));
        if let [note] = self.trial.notes.as_slice() {
            say(&format!("         {note}"));
        }
        for (check, verdict) in &self.verdicts {
            for violation in verdict.violations.iter().take(5) {
                say(&format!("         {}: {violation}", check.promise()));
            }
        }
    }

    fn as_json(&self) -> Value {
        let facts = &self.trial.facts;
        json!({
            "name": self.trial.name,
            "kept": self.is_kept(),
            "seconds": self.trial.took.as_secs_f64(),
            "acknowledged": facts.acknowledged.len(),
            "model_calls": facts.calls.len(),
            "delivered": facts.delivered.len(),
            "other_statuses": facts.statuses,
            "notes": self.trial.notes,
            "recoveries": facts.recoveries,
            "machine_stalled_ms": facts.stalled_ms,
            "takeovers": facts.takeovers,
            "memory": facts.memory,
            "disturbances": facts.disturbances,
            "verdicts": self.verdicts.iter().map(|(check, verdict)| json!({
                "check": check, "judged": verdict.judged, "violations": verdict.violations,
            })).collect::<Vec<_>>(),
        })
    }
}

/// Everything of one start.
pub struct Report {
    /// What was random is so by this.
    pub seed: u64,
    /// Whether it is the short form.
    pub short: bool,
    /// Runs with faults.
    pub trials: Vec<Judged>,
    /// Defects.
    pub caught: Vec<Caught>,
    /// The same scenes without them.
    pub control: Vec<Caught>,
    /// What was left out, and why.
    pub skipped: Vec<String>,
    /// How long it all took.
    pub took: Duration,
}

impl Report {
    /// How many defects were found by the check that had to, of how many.
    pub fn score(&self) -> (usize, usize) {
        let caught = self.caught.iter().filter(|it| it.example().is_some());
        (caught.count(), self.caught.len())
    }

    /// Whether all promises were kept, all defects found, and none where there is none.
    pub fn is_well(&self) -> bool {
        let (caught, all) = self.score();
        let control = |it: &Caught| it.by.is_empty() && it.failed.is_none();
        caught == all && self.trials.iter().all(Judged::is_kept) && self.control.iter().all(control)
    }

    /// The promises of which no run judged anything: nothing is proved of them.
    pub fn idle(&self) -> Vec<&'static str> {
        let judged = |check: &Check| {
            let verdicts = self.trials.iter().flat_map(|it| &it.verdicts);
            verdicts
                .filter(|(it, _)| it == check)
                .any(|(_, verdict)| verdict.judged > 0)
        };
        let idle = Check::ALL.iter().filter(|check| !judged(check));
        idle.map(|check| check.promise()).collect()
    }

    /// Writes the three files into `folder`.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("chaos.md"), self.markdown())?;
        std::fs::write(
            folder.join("chaos.json"),
            serde_json::to_string_pretty(&self.as_json())?,
        )?;
        let lines: Vec<Value> = self
            .trials
            .iter()
            .flat_map(|judged| judged.trial.lines.clone())
            .collect();
        history::write_lines(&folder.join("history.jsonl"), &lines)
    }

    fn markdown(&self) -> String {
        let mut text = String::new();
        let form = if self.short { "short" } else { "long" };
        let (caught, all) = self.score();
        let verdict = if self.is_well() {
            "All is well"
        } else {
            "Something is broken"
        };
        let mut line =
            |it: String| writeln!(text, "{it}").expect("a string takes all that is written to it");
        line(format!(
            "# Chaos\n\n{verdict}. Seed {}, {form} form, {:.0} s.\n",
            self.seed,
            self.took.as_secs_f64()
        ));
        line("## Promises\n\n| promise | judged | broken |\n|---|---|---|".to_owned());
        for check in Check::ALL {
            let of_check = self.trials.iter().flat_map(|it| &it.verdicts);
            let of_check = of_check.filter(|(it, _)| *it == check);
            let (judged, broken) = of_check.fold((0, 0), |(judged, broken), (_, verdict)| {
                (judged + verdict.judged, broken + verdict.violations.len())
            });
            line(format!("| {} | {judged} | {broken} |", check.promise()));
        }
        line("\n## Runs\n\n| run | acknowledged | model calls | delivered | before/s | after/s | seconds |\n|---|---|---|---|---|---|---|".to_owned());
        for judged in &self.trials {
            let (trial, facts) = (&judged.trial, &judged.trial.facts);
            let (before, after) = facts.recoveries.first().map_or_else(
                || (String::new(), String::new()),
                |it| (format!("{:.1}", it.before), format!("{:.1}", it.after)),
            );
            line(format!(
                "| {} | {} | {} | {} | {before} | {after} | {:.0} |",
                trial.name,
                facts.acknowledged.len(),
                facts.calls.len(),
                facts.delivered.len(),
                trial.took.as_secs_f64(),
            ));
        }
        for judged in self.trials.iter().filter(|it| !it.is_kept()) {
            line(format!("\n### Broken in {}\n", judged.trial.name));
            for (check, verdict) in &judged.verdicts {
                for violation in &verdict.violations {
                    line(format!("- {}: {violation}", check.promise()));
                }
            }
            line(format!(
                "\nWhat was done: {}",
                judged.trial.notes.join("; ")
            ));
        }
        line(format!(
            "\n## Defects planted on purpose: caught {caught} of {all}\n\n| defect | caught by | example |\n|---|---|---|"
        ));
        for it in &self.caught {
            let by: Vec<&str> = it.by.iter().map(|(check, _)| check.promise()).collect();
            let example = it
                .example()
                .or(it.failed.as_deref())
                .unwrap_or("**escaped**");
            line(format!(
                "| {} | {} | {example} |",
                it.case.name,
                by.join("; ")
            ));
        }
        if !self.control.is_empty() {
            let clean = self
                .control
                .iter()
                .filter(|it| it.by.is_empty() && it.failed.is_none())
                .count();
            line(format!(
                "\nThe same scenes without a defect: nothing found in {clean} of {}.",
                self.control.len()
            ));
        }
        for skipped in &self.skipped {
            line(format!("\nLeft out: {skipped}"));
        }
        text
    }

    fn as_json(&self) -> Value {
        let (caught, all) = self.score();
        json!({
            "seed": self.seed,
            "form": if self.short { "short" } else { "long" },
            "well": self.is_well(),
            "seconds": self.took.as_secs_f64(),
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "trials": self.trials.iter().map(Judged::as_json).collect::<Vec<_>>(),
            "caught": caught,
            "defects": all,
            "mutants": self.caught.iter().map(defect).collect::<Vec<_>>(),
            "control": self.control.iter().map(defect).collect::<Vec<_>>(),
            "skipped": self.skipped,
        })
    }
}

fn defect(caught: &Caught) -> Value {
    json!({
        "name": caught.case.name,
        "expected": caught.case.check,
        "caught": caught.example().is_some(),
        "by": caught.by.iter().map(|(check, example)| json!({ "check": check, "example": example })).collect::<Vec<_>>(),
        "judged": caught.judged,
        "failed": caught.failed,
        "seconds": caught.took.as_secs_f64(),
        "attempts": caught.attempts,
    })
}

/// A line for who watches.
pub fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}
