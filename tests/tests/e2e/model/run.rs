//! Runs plans, keeps those that fail, and makes them shorter.

use std::any::Any;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::executor::World;
use super::operation::Operation;

/// How long a plan is cut down.
const SHRINK_FOR: Duration = Duration::from_secs(400);
/// How many of the last operations a failure shows.
const SHOWN: usize = 25;

/// What became of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Agreed,
    /// There can be no mounts here.
    Skipped,
    Failed(Failure),
}

/// How a plan failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The number of the operation.
    at: usize,
    /// What was said, without its numbers: the same failure is said in the same words.
    words: String,
}

/// Performs a plan.
pub(super) fn perform(plan: &[Operation], passthrough: bool) -> Outcome {
    let mut trace: Vec<String> = Vec::new();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let Some(mut world) = World::new(passthrough) else {
            return Outcome::Skipped;
        };
        for operation in plan {
            trace.push(format!("{operation:?}"));
            let start = Instant::now();
            let answer = world.perform(operation);
            if std::env::var_os("LITEFS_MODEL_TRACE").is_some() {
                eprintln!("{:?} {operation:?} -> {answer}", start.elapsed());
            }
            if let Some(last) = trace.last_mut() {
                last.push_str(&format!(" -> {answer}"));
            }
        }
        world.finish();
        Outcome::Agreed
    }));
    result.unwrap_or_else(|payload| {
        let from = trace.len().saturating_sub(SHOWN);
        for (number, line) in trace.iter().enumerate().skip(from) {
            eprintln!("{number:4} {line}");
        }
        Outcome::Failed(Failure {
            at: trace.len().saturating_sub(1),
            words: words(&*payload),
        })
    })
}

/// The first two lines of what a panic said, without numbers and paths.
fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    let lines: Vec<&str> = text.unwrap_or_default().lines().take(2).collect();
    let words = lines.iter().flat_map(|line| line.split_whitespace());
    words
        .filter(|word| !word.contains(|c: char| c.is_ascii_digit() || c == '/'))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Performs a plan that must agree. One that does not is kept in a file, and made shorter if that was asked for.
#[track_caller]
pub(super) fn check(name: &str, plan: &[Operation], passthrough: bool) {
    let Outcome::Failed(failure) = perform(plan, passthrough) else {
        return;
    };
    let mut failing = until_failure(plan, &failure);
    if let Some(tries) = super::variable("LITEFS_MODEL_SHRINK") {
        failing = shrink(failing, passthrough, &failure, tries);
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("model-{name}.jsonl"));
    fs::write(&path, text(&failing)).expect("the target directory can be written");
    panic!(
        "{name} fails (passthrough: {passthrough}); its plan is in {}:\n{}",
        path.display(),
        text(&failing)
    );
}

fn until_failure(plan: &[Operation], failure: &Failure) -> Vec<Operation> {
    plan[..=failure.at.min(plan.len() - 1)].to_vec()
}

/// Leaves out as much as possible while it still fails in the same words: halves first, then smaller parts. What fails
/// only sometimes gets several tries.
fn shrink(
    mut plan: Vec<Operation>,
    passthrough: bool,
    failure: &Failure,
    tries: usize,
) -> Vec<Operation> {
    let end = Instant::now() + SHRINK_FOR;
    let fails = |plan: &[Operation]| {
        (0..tries).find_map(|_| match perform(plan, passthrough) {
            Outcome::Failed(other) if other.words == failure.words => {
                Some(until_failure(plan, &other))
            }
            _ => None,
        })
    };
    let mut part = plan.len().div_ceil(2);
    while Instant::now() < end {
        let mut from = 0;
        let before = plan.len();
        while from < plan.len() && Instant::now() < end {
            match fails(&without(&plan, from, part)) {
                Some(shorter) => plan = shorter,
                None => from += part,
            }
            eprintln!("shrinking: {} operations, parts of {part}", plan.len());
        }
        if part == 1 && plan.len() == before {
            break;
        }
        part = part.div_ceil(2).min(plan.len());
    }
    plan
}

/// The plan without `part` operations from `from` on. It ends with a comparison as it did.
fn without(plan: &[Operation], from: usize, part: usize) -> Vec<Operation> {
    let until = (from + part).min(plan.len());
    let mut shorter = [&plan[..from], &plan[until..]].concat();
    if shorter.is_empty() {
        shorter.push(Operation::Compare { keep: false });
    }
    shorter
}

/// One operation a line.
fn text(plan: &[Operation]) -> String {
    let lines = plan
        .iter()
        .map(|operation| serde_json::to_string(operation).expect("an operation is JSON"));
    lines.map(|line| line + "\n").collect()
}

/// The plan that `text` has.
#[track_caller]
pub(super) fn parse(text: &str) -> Vec<Operation> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

/// The plan in a file.
#[track_caller]
pub(super) fn load(path: &PathBuf) -> Vec<Operation> {
    let text = fs::read_to_string(path);
    parse(&text.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}
