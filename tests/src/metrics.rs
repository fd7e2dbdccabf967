//! Prometheus' text format, as far as counters go.

use std::collections::BTreeMap;

/// What `GET /metrics` said at one moment: value by series, labels included.
#[derive(Debug, Clone, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the text format.
    pub fn parse(text: &str) -> Metrics {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        Metrics(
            samples
                .filter_map(|line| line.rsplit_once(' '))
                .filter_map(number)
                .collect(),
        )
    }

    /// The sum of a metric over all its labels; nothing if there is no such metric.
    pub fn total(&self, name: &str) -> Option<f64> {
        let mut series = self.of(name).peekable();
        series.peek()?;
        Some(series.map(|(_, value)| value).sum())
    }

    /// Requests that the FUSE worker has handled since the node started, by kind.
    pub fn fuse_requests(&self) -> BTreeMap<String, u64> {
        self.of("litefs_fuse_requests_total")
            .map(|(series, value)| (label(series, "op"), value as u64))
            .collect()
    }

    /// What `later` counted more than `self`, by kind of request; kinds without a difference are left out.
    pub fn fuse_requests_until(&self, later: &Metrics) -> BTreeMap<String, u64> {
        let before = self.fuse_requests();
        let mut difference = later.fuse_requests();
        for (op, count) in &mut difference {
            *count -= before.get(op).copied().unwrap_or(0);
        }
        difference.retain(|_, count| *count > 0);
        difference
    }

    fn of(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        let samples = self
            .0
            .iter()
            .map(|(series, value)| (series.as_str(), *value));
        samples.filter(move |(series, _)| series.split('{').next() == Some(name))
    }
}

fn number((series, value): (&str, &str)) -> Option<(String, f64)> {
    Some((series.to_owned(), value.parse().ok()?))
}

/// The value of one label of a series, empty if it has none of that name.
fn label(series: &str, name: &str) -> String {
    let labels = series
        .split_once('{')
        .map_or("", |(_, labels)| labels.trim_end_matches('}'));
    let values = labels.split(',').filter_map(|pair| pair.split_once('='));
    values
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value.trim_matches('"').to_owned())
        .next()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_kind_between_two_looks() {
        let before = Metrics::parse(
            "# HELP litefs_fuse_requests_total x\nlitefs_fuse_requests_total{op=\"read\"} 5\nlitefs_fuse_requests_total{op=\"open\"} 2\nother 7\n",
        );
        let after = Metrics::parse(
            "litefs_fuse_requests_total{op=\"read\"} 9\nlitefs_fuse_requests_total{op=\"open\"} 2\nlitefs_fuse_requests_total{op=\"fsync\"} 1\n",
        );
        let expected = BTreeMap::from([("fsync".to_owned(), 1), ("read".to_owned(), 4)]);
        assert_eq!(before.fuse_requests_until(&after), expected);
        assert_eq!(before.total("litefs_fuse_requests_total"), Some(7.0));
        assert_eq!(before.total("litefs_fuse_requests"), None);
    }
}
