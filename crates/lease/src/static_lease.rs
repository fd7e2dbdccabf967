//! A primary that the configuration names and that nobody replaces.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::advertise::AdvertiseUrl;
use crate::error::Error;
use crate::leaser::{Answer, Holder, Leaser, Outcome, Seen, SessionId, Survey, Traits, Version};
use crate::record::{Positions, Post, Record};

/// What a node is under its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It takes the writes.
    Primary {
        /// Its term: greater than every earlier one of this node. It must be durable before the first commit.
        epoch: u64,
    },
    /// It follows another node.
    Replica {
        /// The primary's host name, as `.primary` shows it.
        hostname: String,
        /// The base URL of the primary's API, `http://host:port`.
        advertise_url: String,
    },
}

/// The lease of a cluster whose primary is fixed: it is never won and never lost. Clones are the same lease.
///
/// Nothing is kept anywhere: neither epochs nor posts nor positions nor the name of the cluster. To a replica the record
/// is the primary of the configuration, in epoch 0; to the primary it is vacant until it takes it.
#[derive(Debug, Clone)]
pub struct StaticLease {
    part: Part,
    /// What the primary took, and how often it changed that.
    held: Arc<watch::Sender<Held>>,
}

type Held = (u64, Option<Record>);

/// The one session that there is.
const SESSION: &str = "static";

const NO_HANDOFF: Error = Error::Unsupported("static lease does not support handoff");

impl PartialEq for StaticLease {
    /// Whether the configuration is the same.
    fn eq(&self, other: &StaticLease) -> bool {
        self.part == other.part
    }
}

impl Eq for StaticLease {}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Primary,
    Replica {
        hostname: String,
        advertise_url: AdvertiseUrl,
    },
}

impl StaticLease {
    /// Checks the configuration: `lease.candidate`, `lease.hostname` and `lease.advertise-url`. The last two
    /// are the *primary's*, on every node.
    ///
    /// The primary itself needs no URL, but one that is given is checked. On a replica the URL is required; a
    /// hostname that is missing or empty is taken from it.
    pub fn new(
        is_primary: bool,
        hostname: Option<&str>,
        advertise_url: Option<&str>,
    ) -> Result<StaticLease, Error> {
        let advertise_url = advertise_url
            .filter(|url| !url.is_empty())
            .map(str::parse::<AdvertiseUrl>)
            .transpose()?;
        if is_primary {
            return Ok(StaticLease::with(Part::Primary));
        }
        let advertise_url = advertise_url.ok_or(Error::NoPrimary)?;
        let hostname = hostname
            .filter(|name| !name.is_empty())
            .unwrap_or(advertise_url.host())
            .to_owned();
        Ok(StaticLease::with(Part::Replica {
            hostname,
            advertise_url,
        }))
    }

    fn with(part: Part) -> StaticLease {
        StaticLease {
            part,
            held: Arc::new(watch::Sender::new((1, None))),
        }
    }

    fn seen(&self, held: &Held) -> Seen {
        let holder = match (&self.part, &held.1) {
            (Part::Primary, None) => Holder::Vacant,
            (Part::Primary, Some(record)) => {
                Holder::Node(record.clone(), Some(SessionId(SESSION.to_owned())))
            }
            (
                Part::Replica {
                    hostname,
                    advertise_url,
                },
                _,
            ) => Holder::Node(configured(hostname, advertise_url), None),
        };
        Seen {
            version: Version(held.0),
            holder,
        }
    }

    /// The primary changes its record; a replica cannot.
    fn put(&self, record: &Record) -> Outcome {
        if !self.is_primary() {
            return Outcome::Refused;
        }
        let mut version = 0;
        self.held.send_modify(|held| {
            version = held.0 + 1;
            *held = (version, Some(record.clone()));
        });
        Outcome::Done(Version(version))
    }

    /// Whether this node is the primary.
    pub fn is_primary(&self) -> bool {
        matches!(self.part, Part::Primary)
    }

    /// What this node is from now on. `last_epoch` is the greatest epoch it ever had, 0 if it had none; a
    /// primary begins a new one each time it starts.
    pub fn stand(&self, last_epoch: u64) -> Result<Standing, Error> {
        match &self.part {
            Part::Primary => {
                let epoch = last_epoch
                    .checked_add(1)
                    .ok_or(Error::LastEpoch(last_epoch))?;
                Ok(Standing::Primary { epoch })
            }
            Part::Replica {
                hostname,
                advertise_url,
            } => Ok(Standing::Replica {
                hostname: hostname.clone(),
                advertise_url: advertise_url.to_string(),
            }),
        }
    }
}

/// The record of a primary of which only the address is known.
fn configured(hostname: &str, advertise_url: &AdvertiseUrl) -> Record {
    Record {
        hostname: hostname.to_owned(),
        advertise_url: advertise_url.to_string(),
        node_id: 0,
        boot_id: String::new(),
        cluster_id: String::new(),
        epoch: 0,
        n: 0,
        ttl_ms: 0,
    }
}

fn done<'a, T: Send + 'a>(answer: Result<T, Error>) -> Answer<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Leaser for StaticLease {
    fn traits(&self) -> Traits {
        Traits {
            ttl: None,
            movable: false,
        }
    }

    fn describe(&self) -> String {
        match &self.part {
            Part::Primary => "static lease, this node is the primary".to_owned(),
            Part::Replica { advertise_url, .. } => {
                format!("static lease, the primary is {advertise_url}")
            }
        }
    }

    fn read(&self) -> Answer<'_, Seen> {
        done(Ok(self.seen(&self.held.borrow())))
    }

    fn watch(&self, known: Version, wait: Duration) -> Answer<'_, Seen> {
        let mut held = self.held.subscribe();
        Box::pin(async move {
            let changed = held.wait_for(|held| Version(held.0) != known);
            // Neither ends otherwise: the sender is borrowed here.
            let _ = tokio::time::timeout(wait, changed).await;
            Ok(self.seen(&self.held.borrow()))
        })
    }

    fn survey(&self) -> Answer<'_, Survey> {
        done(Ok(Survey {
            seen: self.seen(&self.held.borrow()),
            last_epoch: None,
            epoch_version: Version(0),
            cluster_id: None,
            posts: Vec::new(),
            positions: Positions::new(),
        }))
    }

    fn session(&self) -> Answer<'_, SessionId> {
        done(Ok(SessionId(SESSION.to_owned())))
    }

    fn acquire<'a>(&'a self, _over: &'a Survey, record: &'a Record) -> Answer<'a, Outcome> {
        done(Ok(self.put(record)))
    }

    fn renew<'a>(&'a self, _known: Version, record: &'a Record) -> Answer<'a, Outcome> {
        done(Ok(self.put(record)))
    }

    fn release<'a>(&'a self, _record: &'a Record) -> Answer<'a, Outcome> {
        done(Err(NO_HANDOFF))
    }

    fn pass<'a>(
        &'a self,
        _known: Version,
        _target: &'a SessionId,
        _record: &'a Record,
    ) -> Answer<'a, Outcome> {
        done(Err(NO_HANDOFF))
    }

    fn post<'a>(&'a self, _post: &'a Post) -> Answer<'a, ()> {
        done(Ok(()))
    }

    fn unpost(&self, _node_id: u64) -> Answer<'_, ()> {
        done(Ok(()))
    }

    fn publish<'a>(&'a self, _positions: &'a Positions) -> Answer<'a, Outcome> {
        let held = self.held.borrow();
        done(Ok(match held.1 {
            Some(_) => Outcome::Done(Version(held.0)),
            None => Outcome::Refused,
        }))
    }

    fn name_cluster<'a>(&'a self, id: &'a str) -> Answer<'a, String> {
        done(Ok(id.to_owned()))
    }

    fn close(&self) -> Answer<'_, ()> {
        done(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_begins_a_new_epoch_each_time() {
        let lease = StaticLease::new(true, None, None).unwrap();
        assert!(lease.is_primary());
        assert_eq!(lease.stand(0), Ok(Standing::Primary { epoch: 1 }));
        assert_eq!(lease.stand(41), Ok(Standing::Primary { epoch: 42 }));
        assert_eq!(lease.stand(u64::MAX), Err(Error::LastEpoch(u64::MAX)));
    }

    #[test]
    fn a_replica_follows_the_configured_primary() {
        let lease = StaticLease::new(false, Some("db1"), Some("http://10.0.0.7:20202/")).unwrap();
        assert!(!lease.is_primary());
        let expected = Standing::Replica {
            hostname: "db1".to_owned(),
            advertise_url: "http://10.0.0.7:20202".to_owned(),
        };
        assert_eq!(lease.stand(u64::MAX), Ok(expected));
    }

    #[test]
    fn the_hostname_defaults_to_the_host_of_the_url() {
        for hostname in [None, Some("")] {
            let lease =
                StaticLease::new(false, hostname, Some("http://db1.internal:20202")).unwrap();
            let Ok(Standing::Replica { hostname, .. }) = lease.stand(0) else {
                panic!("{lease:?} is no replica")
            };
            assert_eq!(hostname, "db1.internal");
        }
    }

    #[test]
    fn a_replica_needs_a_url_and_any_url_is_checked() {
        assert_eq!(
            StaticLease::new(false, Some("db1"), None),
            Err(Error::NoPrimary)
        );
        assert_eq!(
            StaticLease::new(false, Some("db1"), Some("")),
            Err(Error::NoPrimary)
        );
        for is_primary in [true, false] {
            let refused = StaticLease::new(is_primary, None, Some("db1:20202"));
            assert!(
                matches!(refused, Err(Error::AdvertiseUrl { .. })),
                "{refused:?}"
            );
        }
    }
}
