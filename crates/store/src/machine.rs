//! What a primary needs to know after its machine crashed: that it did, and who may have more than is left here.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, IoContext};
use crate::layout::{self, DataDir};

/// Where Linux tells one start of the machine from another.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A replica that was not heard of for so long is not waited for.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// How old the note of a replica may be before it is written again.
const FRESH: Duration = Duration::from_secs(3600);

/// Notes this start of the machine. `true` if the last process that had the directory ran before it.
pub(crate) fn is_another_start(data: &DataDir) -> Result<bool, Error> {
    let path = data.boot();
    let Ok(now) = fs::read_to_string(BOOT_ID) else {
        // Not to be had in some sandboxes; then only processes are known to crash.
        return Ok(false);
    };
    let before = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).during("read", &path),
    };
    if before.as_deref() == Some(&now) {
        return Ok(false);
    }
    layout::write_durably(&path, now.as_bytes())?;
    Ok(before.is_some())
}

/// The replicas that were connected in the last days: node id, and when they were noted, in Unix seconds.
fn read(data: &DataDir) -> Result<Vec<(u64, u64)>, Error> {
    let path = data.replicas();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).during("read", &path),
    };
    let oldest = unix_seconds().saturating_sub(FORGOTTEN.as_secs());
    let parse = |line: &str| {
        let (id, at) = line.split_once(' ')?;
        Some((u64::from_str_radix(id, 16).ok()?, at.parse().ok()?))
    };
    let known = text.lines().filter_map(parse);
    Ok(known.filter(|(_, at)| *at >= oldest).collect())
}

/// The replicas that were connected in the last days.
pub(crate) fn known_replicas(data: &DataDir) -> Result<Vec<u64>, Error> {
    Ok(read(data)?.into_iter().map(|(id, _)| id).collect())
}

/// Notes that a replica is connected.
pub(crate) fn note_replica(data: &DataDir, id: u64) -> Result<(), Error> {
    let mut known = read(data)?;
    let now = unix_seconds();
    let fresh = now.saturating_sub(FRESH.as_secs());
    if known.iter().any(|&(other, at)| other == id && at >= fresh) {
        return Ok(());
    }
    known.retain(|&(other, _)| other != id);
    known.push((id, now));
    let text: String = known
        .iter()
        .map(|(id, at)| format!("{id:016x} {at}\n"))
        .collect();
    layout::write_durably(&data.replicas(), text.as_bytes())
}

fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_noted_once_and_forgotten_after_days() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path());
        assert_eq!(known_replicas(&data).unwrap(), []);
        note_replica(&data, 7).unwrap();
        note_replica(&data, 9).unwrap();
        note_replica(&data, 7).unwrap();
        assert_eq!(known_replicas(&data).unwrap(), [7, 9]);
        let old = unix_seconds() - FORGOTTEN.as_secs() - 10;
        fs::write(data.replicas(), format!("{:016x} {old}\nnonsense\n", 5)).unwrap();
        assert_eq!(known_replicas(&data).unwrap(), []);
    }

    #[test]
    fn another_start_of_the_machine_is_seen_once() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path());
        assert!(!is_another_start(&data).unwrap(), "there was none before");
        assert!(!is_another_start(&data).unwrap());
        fs::write(data.boot(), "another").unwrap();
        assert!(is_another_start(&data).unwrap());
        assert!(!is_another_start(&data).unwrap());
    }
}
