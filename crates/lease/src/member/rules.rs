//! The rules of elections, as functions of what is known.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::Error;
use crate::leaser::{Holder, Survey};
use crate::node::{Holdings, Identity};
use crate::record::{Place, Positions, Post};

/// By how much a primary stops earlier than its lease ends by its own clock: 2% of the TTL, for two clocks that each
/// go wrong by 1%, and the time that fencing may take.
pub(super) fn margin(ttl: Duration) -> Duration {
    ttl / 50 + Duration::from_millis(300)
}

/// The epoch of a new term: greater than any that anybody here has heard of.
///
/// `date`: seconds since 1970. Where somebody has heard of an epoch of which the store knows nothing, the store has
/// been emptied or set back, and there may have been more terms than anybody here knows. A date is greater than all of
/// them: there was not a term in every second. Only in that case: epochs are numbers that people read.
pub(super) fn next_epoch(
    survey: &Survey,
    seen: u64,
    holdings: &Holdings,
    date: u64,
) -> Result<u64, Error> {
    let record = match &survey.seen.holder {
        Holder::Node(record, _) => record.epoch,
        Holder::Vacant | Holder::Foreign(_) => 0,
    };
    let kept = survey.last_epoch.map_or(0, |last| last.epoch);
    let posts = survey.posts.iter().map(|(post, _)| heard_of(post));
    let own = [seen, holdings.epoch, holdings.seen_epoch];
    let heard = own.into_iter().chain(posts).max().unwrap_or(0);
    let last = heard.max(kept).max(record);
    let next = last.checked_add(1).ok_or(Error::LastEpoch(last))?;
    let forgotten = heard > kept;
    Ok(if forgotten { next.max(date) } else { next })
}

fn heard_of(post: &Post) -> u64 {
    post.epoch.max(post.seen_epoch)
}

/// Whether this database is the same one, and at least as far.
fn reaches(mine: Option<&Place>, other: &Place) -> bool {
    mine.is_some_and(|mine| mine.incarnation == other.incarnation && mine.txid >= other.txid)
}

/// Whether it is this very database that was dropped.
fn is_dropped(dropped: &Positions, name: &str, place: &Place) -> bool {
    dropped
        .get(name)
        .is_some_and(|dropped| dropped.incarnation == place.incarnation)
}

/// What a primary publishes: what it has, and of that what a candidate has ever acknowledged. It does not become less
/// because that candidate has gone, or because the term is a new one.
pub(super) fn to_publish(acknowledged: &Positions, published: &Positions) -> Positions {
    let most = |(name, now): (&String, &Place)| {
        let before = published
            .get(name)
            .filter(|before| before.incarnation == now.incarnation);
        let txid = before.map_or(now.txid, |before| before.txid.max(now.txid));
        (name.clone(), Place { txid, ..*now })
    };
    acknowledged.iter().map(most).collect()
}

/// What of that is in `mine`.
pub(super) fn what_is_here(published: &Positions, mine: &Positions) -> Positions {
    let least = |(name, place): (&String, &Place)| {
        let here = mine
            .get(name)
            .filter(|here| here.incarnation == place.incarnation)?;
        let txid = place.txid.min(here.txid);
        Some((name.clone(), Place { txid, ..*place }))
    };
    published.iter().filter_map(least).collect()
}

/// Who of those is at how many places before `me`.
///
/// The higher epoch goes first; then who has more transactions in all, which is who dominates if one of two does;
/// then who has more databases; then the lower number.
pub(super) fn rank(me: &Post, others: &[&Post]) -> usize {
    let weight = |post: &Post| {
        let transactions: u128 = post
            .positions
            .values()
            .map(|place| u128::from(place.txid))
            .sum();
        (post.epoch, transactions, post.positions.len())
    };
    let before = |other: &&&Post| match weight(other).cmp(&weight(me)) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => other.node_id < me.node_id,
        std::cmp::Ordering::Less => false,
    };
    others
        .iter()
        .filter(|other| other.node_id != me.node_id)
        .filter(before)
        .count()
}

/// The candidates that answered this ballot and have transactions of the same epoch that this node has not.
pub(super) fn ahead(holdings: &Holdings, posts: &[&Post]) -> Vec<Post> {
    let more = |post: &&&Post| {
        post.epoch == holdings.epoch
            && post.positions.iter().any(|(name, place)| {
                let mine = holdings.positions.get(name);
                !is_dropped(&holdings.dropped, name, place)
                    && mine.is_none_or(|mine| {
                        mine.incarnation == place.incarnation && mine.txid < place.txid
                    })
            })
    };
    posts
        .iter()
        .filter(more)
        .map(|post| (*post).clone())
        .collect()
}

/// Why a node does not take the lease. The text tells a person what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "not taking over: this node is no candidate (lease.candidate, or a filter of databases)"
    )]
    NoCandidate,
    #[error(
        "cannot connect, this node belongs to cluster {own}, the lease is of cluster {theirs}: use another lease key, or another data directory"
    )]
    OtherCluster { own: String, theirs: String },
    #[error(
        "not taking over: this node is empty, and the cluster has data, or had a primary that may have some: waiting for a node that has it; `litefs promote --force` makes an empty node eligible, and the data of the others is lost"
    )]
    Empty,
    #[error("not taking over: this node lacks database {}, which the cluster has: waiting for a node that has it; `litefs promote --force` makes this node eligible without it", .0.join(", "))]
    Lacks(Vec<String>),
    #[error(
        "not taking over: this node has another database of the name {0} than the cluster: waiting for a node that has it; `litefs promote --force` makes this node eligible with its own"
    )]
    Another(String),
    #[error(
        "not taking over: database {name} is at transaction {have} here, and another node has acknowledged {need}: waiting for a node that has it; `litefs promote --force` makes this node eligible without these transactions"
    )]
    Behind { name: String, have: u64, need: u64 },
    #[error("not taking over: {0}")]
    Waits(String),
}

/// What decides on the eligibility of a node.
pub(super) struct Applicant<'a> {
    pub(super) me: &'a Identity,
    pub(super) holdings: &'a Holdings,
    /// An operator takes it upon them.
    pub(super) forced: bool,
    /// The last term that there was was this node's own.
    pub(super) was_last: bool,
}

/// Whether a node may take the lease.
pub(super) fn eligibility(applicant: &Applicant<'_>, survey: &Survey) -> Result<(), Refusal> {
    let holdings = applicant.holdings;
    if !applicant.me.candidate {
        return Err(Refusal::NoCandidate);
    }
    same_cluster(holdings.cluster_id.as_deref(), survey.cluster_id.as_deref())?;
    if applicant.forced {
        return Ok(());
    }
    if holdings.positions.is_empty() && holdings.epoch == 0 && cluster_has_data(applicant, survey) {
        return Err(Refusal::Empty);
    }
    let stock = Stock {
        epoch: holdings.epoch,
        positions: &holdings.positions,
        dropped: &holdings.dropped,
    };
    has_what_is_published(&stock, survey)
}

/// A node of one cluster has no business in another.
pub(super) fn same_cluster(own: Option<&str>, theirs: Option<&str>) -> Result<(), Refusal> {
    match (own, theirs) {
        (Some(own), Some(theirs)) if own != theirs => Err(Refusal::OtherCluster {
            own: own.to_owned(),
            theirs: theirs.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Whether somebody has, or may have, data. Asked by a node that has none.
fn cluster_has_data(applicant: &Applicant<'_>, survey: &Survey) -> bool {
    let others = survey
        .posts
        .iter()
        .any(|(post, _)| post.node_id != applicant.me.node_id && post.epoch > 0);
    if others || !survey.positions.is_empty() {
        return true;
    }
    match (&applicant.holdings.cluster_id, &survey.cluster_id) {
        // A name without a term: whoever gave it did not come any further. A term of our own: it had no data.
        (None, Some(_)) => survey.last_epoch.is_some() && !applicant.was_last,
        // This node belongs to a cluster of which the store knows nothing: the store is not the one that it was.
        (Some(_), None) => true,
        (None, None) | (Some(_), Some(_)) => false,
    }
}

/// What decides on whether a node lacks something.
struct Stock<'a> {
    epoch: u64,
    positions: &'a Positions,
    dropped: &'a Positions,
}

fn stock(post: &Post) -> Stock<'_> {
    Stock {
        epoch: post.epoch,
        positions: &post.positions,
        dropped: &post.dropped,
    }
}

/// The epoch of the last term, if there was one.
fn last_term(survey: &Survey) -> Option<u64> {
    let record = match &survey.seen.holder {
        // Handed over, and never taken up: nobody led in that epoch.
        Holder::Node(record, _) if record.n == 0 => return record.epoch.checked_sub(1),
        Holder::Node(record, _) => Some(record.epoch),
        Holder::Vacant | Holder::Foreign(_) => None,
    };
    record.max(survey.last_epoch.map(|last| last.epoch))
}

/// Whether nothing is published that this node would lose for others.
///
/// A node that was in sync in the last term may lack what nobody had acknowledged (it was created a moment before the
/// primary died, and is lost with it), and what the primary had it drop (which is published for a moment yet). One that
/// was not may not: it may have neither because it has not got so far, and for it what it dropped was in another term,
/// after which the database may have lived on elsewhere.
fn has_what_is_published(mine: &Stock<'_>, survey: &Survey) -> Result<(), Refusal> {
    let in_sync = last_term(survey) == Some(mine.epoch);
    let wanted = |(name, need): &(&String, &Place)| {
        let here = mine.positions.get(*name);
        let is_same = here.is_some_and(|here| here.incarnation == need.incarnation);
        let forgone = need.txid == 0 || is_dropped(mine.dropped, name, need);
        !reaches(here, need) && (is_same || !in_sync || !forgone)
    };
    let wanted: Vec<(&String, &Place)> = survey.positions.iter().filter(wanted).collect();
    let lacking: Vec<String> = wanted
        .iter()
        .filter(|(name, _)| !mine.positions.contains_key(*name))
        .map(|(name, _)| (*name).clone())
        .collect();
    if !lacking.is_empty() {
        return Err(Refusal::Lacks(lacking));
    }
    for (name, need) in wanted {
        let Some(have) = mine.positions.get(name) else {
            continue;
        };
        return Err(if have.incarnation == need.incarnation {
            Refusal::Behind {
                name: name.clone(),
                have: have.txid,
                need: need.txid,
            }
        } else {
            Refusal::Another(name.clone())
        });
    }
    Ok(())
}

/// The candidates that are ranked with this node: willing, answered this ballot, and lack nothing.
pub(super) fn rivals(survey: &Survey, me: u64) -> Vec<&Post> {
    let data = !survey.positions.is_empty() || survey.posts.iter().any(|(post, _)| post.epoch > 0);
    answers(survey, me)
        .into_iter()
        .filter(|post| post.willing && has_what_is_published(&stock(post), survey).is_ok())
        .filter(|post| !data || post.epoch > 0 || !post.positions.is_empty())
        .collect()
}

/// What others posted for this state of the record.
pub(super) fn answers(survey: &Survey, me: u64) -> Vec<&Post> {
    let ballot = survey.seen.version.0;
    survey
        .posts
        .iter()
        .map(|(post, _)| post)
        .filter(|post| post.node_id != me && post.ballot == ballot)
        .collect()
}

/// Whether every candidate that there is has posted for this state of the record.
pub(super) fn all_answered(survey: &Survey) -> bool {
    let ballot = survey.seen.version.0;
    let asked: BTreeSet<u64> = survey.posts.iter().map(|(post, _)| post.node_id).collect();
    let answered = survey
        .posts
        .iter()
        .filter(|(post, _)| post.ballot == ballot)
        .count();
    answered == asked.len()
}

/// The last term of this node, which it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastTerm {
    pub(super) epoch: u64,
    /// Until then nobody can have taken over after it; `None`: it may have been handed over.
    pub(super) undisputed: Option<Duration>,
}

/// When a vacant lease may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vacancy {
    /// At once: nobody can commit.
    Now,
    /// At once, and by this node before the others: its own term was the last one.
    Own,
    /// After it was vacant for that long: there may be a primary that does not know.
    After(Duration),
}

/// Rule 3.
pub(super) fn vacancy(
    survey: &Survey,
    holdings_cluster: Option<&str>,
    me: u64,
    last: Option<LastTerm>,
    now: Duration,
    ttl: Duration,
) -> Vacancy {
    match (survey.last_epoch, last) {
        (Some(kept), _) if kept.released => return Vacancy::Now,
        (Some(kept), Some(own)) if kept.epoch == own.epoch => return Vacancy::Own,
        (None, Some(own)) if own.undisputed.is_some_and(|until| now < until) => {
            return Vacancy::Own;
        }
        _ => {}
    }
    let others = survey
        .posts
        .iter()
        .any(|(post, _)| post.node_id != me && heard_of(post) > 0);
    let never_was = survey.last_epoch.is_none()
        && survey.cluster_id.is_none()
        && holdings_cluster.is_none()
        && last.is_none()
        && !others;
    if never_was {
        return Vacancy::Now;
    }
    let kept = survey
        .last_epoch
        .map_or(Duration::ZERO, |kept| Duration::from_millis(kept.ttl_ms));
    Vacancy::After(kept.max(ttl))
}
