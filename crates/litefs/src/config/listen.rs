//! The address that the API listens on.

use std::fmt;
use std::str::FromStr;

/// `HOST:PORT` as Go writes it: an empty host means all addresses of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenAddr {
    host: String,
    port: u16,
}

impl ListenAddr {
    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The addresses to try in turn: for all addresses of the machine IPv6 first, which takes IPv4 too, then
    /// IPv4 for machines without IPv6.
    pub(crate) fn candidates(&self) -> Vec<(&str, u16)> {
        match self.host.as_str() {
            "" => vec![("::", self.port), ("0.0.0.0", self.port)],
            host => vec![(host, self.port)],
        }
    }
}

impl FromStr for ListenAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<ListenAddr, String> {
        let wrong = |reason: &str| format!("invalid address {text:?}: {reason}");
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| wrong("it must be HOST:PORT or :PORT"))?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if bracketed.is_none() && host.contains([':', '[', ']']) {
            return Err(wrong("an IPv6 address must be in brackets"));
        }
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong("the port is not a number"));
        }
        let port = port
            .parse()
            .map_err(|_| wrong("the port is not a number from 0 to 65535"))?;
        Ok(ListenAddr {
            host: bracketed.unwrap_or(host).to_owned(),
            port,
        })
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_addresses() {
        for (text, candidates) in [
            (":20202", vec![("::", 20202), ("0.0.0.0", 20202)]),
            ("localhost:80", vec![("localhost", 80)]),
            ("127.0.0.1:0", vec![("127.0.0.1", 0)]),
            ("[::1]:20202", vec![("::1", 20202)]),
        ] {
            let addr: ListenAddr = text.parse().unwrap();
            assert_eq!(addr.candidates(), candidates);
            assert_eq!(addr.to_string(), text);
        }
    }

    #[test]
    fn refuses_others() {
        for text in [
            "",
            "20202",
            "::1:20202",
            "localhost:",
            "localhost:http",
            ":65536",
            ":+80",
            "[::1:80",
            "a]:80",
        ] {
            assert!(text.parse::<ListenAddr>().is_err(), "{text:?}");
        }
    }
}
