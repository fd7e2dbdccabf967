//! How soon a worker that died gets a successor, and when that is given up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many deaths within the window are too many.
const TOO_MANY: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// The pause before the second successor; doubled for each one after it. The first comes at once.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The latest deaths.
#[derive(Debug, Default)]
pub(super) struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// A worker died: how long to wait before the next one, or `None` if there shall be no other.
    pub(super) fn after_death(&mut self, now: Instant) -> Option<Duration> {
        while self
            .0
            .front()
            .is_some_and(|death| now.duration_since(*death) >= WINDOW)
        {
            self.0.pop_front();
        }
        self.0.push_back(now);
        match self.0.len() {
            1 => Some(Duration::ZERO),
            deaths if deaths >= TOO_MANY => None,
            deaths => Some(FIRST_PAUSE * 2u32.pow(deaths as u32 - 2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_in_a_row_are_bounded_and_those_of_long_ago_do_not_count() {
        let mut restarts = Restarts::default();
        let begun = Instant::now();
        let pauses: Vec<_> = (0..5)
            .map(|second| restarts.after_death(begun + Duration::from_secs(second)))
            .collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(pauses, [ms(0), ms(100), ms(200), ms(400), None]);
        let later = begun + Duration::from_secs(4) + WINDOW;
        assert_eq!(restarts.after_death(later), ms(0));
    }
}
