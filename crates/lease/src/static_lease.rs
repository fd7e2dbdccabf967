//! A primary that the configuration names and that nobody replaces.

use crate::advertise::AdvertiseUrl;
use crate::error::Error;

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

/// The lease of a cluster whose primary is fixed: it is never won and never lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticLease(Part);

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
            return Ok(StaticLease(Part::Primary));
        }
        let advertise_url = advertise_url.ok_or(Error::NoPrimary)?;
        let hostname = hostname
            .filter(|name| !name.is_empty())
            .unwrap_or(advertise_url.host())
            .to_owned();
        Ok(StaticLease(Part::Replica {
            hostname,
            advertise_url,
        }))
    }

    /// Whether this node is the primary.
    pub fn is_primary(&self) -> bool {
        matches!(self.0, Part::Primary)
    }

    /// What this node is from now on. `last_epoch` is the greatest epoch it ever had, 0 if it had none; a
    /// primary begins a new one each time it starts.
    pub fn stand(&self, last_epoch: u64) -> Result<Standing, Error> {
        match &self.0 {
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
