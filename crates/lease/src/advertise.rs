//! The address at which other nodes reach a node.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::error::Error;

/// The base URL of a node's API, `http://host:port`, without a slash at the end.
///
/// The port is part of it, and nothing follows the port: nodes append the paths of the API to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AdvertiseUrl {
    text: String,
    host: std::ops::Range<usize>,
}

const SCHEME: &str = "http://";

impl AdvertiseUrl {
    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host in it: a name or an address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.text[self.host.clone()]
    }
}

impl fmt::Display for AdvertiseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for AdvertiseUrl {
    type Err = Error;

    /// Reads a URL; one slash at the end is dropped.
    fn from_str(url: &str) -> Result<AdvertiseUrl, Error> {
        let wrong = |reason| Error::AdvertiseUrl {
            url: url.to_owned(),
            reason,
        };
        let Some(rest) = url.strip_prefix(SCHEME) else {
            return Err(wrong("it does not begin with http://"));
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let host = check_authority(authority).map_err(wrong)?;
        let bracket = usize::from(authority.starts_with('['));
        let start = SCHEME.len() + bracket;
        Ok(AdvertiseUrl {
            text: format!("{SCHEME}{authority}"),
            host: start..start + host.len(),
        })
    }
}

/// Checks `host:port` and returns the host without brackets (RFC 3986 section 3.2).
fn check_authority(authority: &str) -> Result<&str, &'static str> {
    if authority.contains(['/', '?', '#']) {
        return Err("something follows the port");
    }
    if authority.contains('@') {
        return Err("it has a user name or a password");
    }
    let Some((host, port)) = authority.rsplit_once(':') else {
        return Err("it has no port");
    };
    // Digits only: the parser of integers would take a sign too.
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    if !digits || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err("the port is not a number from 1 to 65535");
    }
    match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(address) if address.parse::<Ipv6Addr>().is_ok() => Ok(address),
        Some(_) => Err("there is no IPv6 address in the brackets"),
        None if host.is_empty() => Err("it has no host"),
        None if host.contains(':') => Err("an IPv6 address must stand in brackets"),
        None if host.bytes().all(is_host_byte) => Ok(host),
        None => Err("the host has a character that no host name has"),
    }
}

/// Letters, digits, `-` and `.`, and `_`, which container networks use in names.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_names_and_addresses_and_knows_the_host() {
        for (text, url, host) in [
            ("http://primary:20202", "http://primary:20202", "primary"),
            ("http://primary:20202/", "http://primary:20202", "primary"),
            (
                "http://db_1.internal:1",
                "http://db_1.internal:1",
                "db_1.internal",
            ),
            ("http://10.0.0.7:65535", "http://10.0.0.7:65535", "10.0.0.7"),
            (
                "http://[fdaa::3]:20202",
                "http://[fdaa::3]:20202",
                "fdaa::3",
            ),
        ] {
            let parsed: AdvertiseUrl = text.parse().unwrap();
            assert_eq!((parsed.as_str(), parsed.host()), (url, host));
        }
    }

    #[test]
    fn says_what_is_wrong_with_anything_else() {
        for (text, expected) in [
            ("", "it does not begin with http://"),
            ("primary:20202", "it does not begin with http://"),
            ("https://primary:20202", "it does not begin with http://"),
            ("http://primary", "it has no port"),
            (
                "http://primary:",
                "the port is not a number from 1 to 65535",
            ),
            (
                "http://primary:0",
                "the port is not a number from 1 to 65535",
            ),
            (
                "http://primary:+80",
                "the port is not a number from 1 to 65535",
            ),
            (
                "http://primary:65536",
                "the port is not a number from 1 to 65535",
            ),
            ("http://:20202", "it has no host"),
            ("http://primary:20202/path", "something follows the port"),
            ("http://primary:20202//", "something follows the port"),
            ("http://primary:20202?a", "something follows the port"),
            (
                "http://me:secret@primary:20202",
                "it has a user name or a password",
            ),
            (
                "http://fdaa::3:20202",
                "an IPv6 address must stand in brackets",
            ),
            (
                "http://[primary]:20202",
                "there is no IPv6 address in the brackets",
            ),
            (
                "http://pri mary:20202",
                "the host has a character that no host name has",
            ),
            (
                "http://primary\n:20202",
                "the host has a character that no host name has",
            ),
        ] {
            let error = text.parse::<AdvertiseUrl>().unwrap_err();
            assert_eq!(
                error,
                Error::AdvertiseUrl {
                    url: text.to_owned(),
                    reason: expected
                }
            );
        }
    }
}
