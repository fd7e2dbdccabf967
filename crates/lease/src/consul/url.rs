//! Where Consul is: `lease.consul.url`.

use percent_encoding::percent_decode_str;
use reqwest::Url;

use crate::error::Error;

/// `scheme://[:TOKEN@]host[:port][/prefix]`, as LiteFS takes it. It is shown without the token.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ConsulUrl {
    /// Scheme, host and port, without a slash at the end.
    pub(super) base: String,
    /// The same, as the HTTP client takes it.
    pub(super) url: Url,
    /// The ACL token, if there is one in the URL.
    pub(super) token: Option<String>,
    /// The path without slashes at its ends: every key begins with it. Empty if there is none.
    pub(super) prefix: String,
}

impl std::fmt::Debug for ConsulUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsulUrl")
            .field("base", &self.base)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl ConsulUrl {
    /// Reads a URL. What is wrong is said without repeating it: there may be a token in it.
    pub(super) fn parse(url: &str) -> Result<ConsulUrl, Error> {
        let wrong = |reason: &str| {
            Error::Config(format!(
                "lease.consul.url is not of the form scheme://[:TOKEN@]host[:port][/prefix]: {reason}"
            ))
        };
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("it has no scheme"))?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            return Err(wrong("the scheme is neither http nor https"));
        }
        if rest.contains(['?', '#']) {
            return Err(wrong("something follows the path"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (user, host),
            None => ("", authority),
        };
        let base = format!("{scheme}://{host}");
        let url = host_and_port(&base, host).map_err(wrong)?;
        let token = user.split_once(':').map(|(_, token)| token);
        let token = token.map(decode).transpose().map_err(|()| {
            wrong("the token is not text in UTF-8, or has a character that no header may have")
        })?;
        let prefix = decode(path).map_err(|()| wrong("the path is not text in UTF-8"))?;
        Ok(ConsulUrl {
            base,
            url,
            token: token.filter(|token| !token.is_empty()),
            prefix: join("", &prefix),
        })
    }

    /// The lease's key, below the prefix.
    pub(super) fn key(&self, key: &str) -> Result<String, Error> {
        if key.is_empty() {
            return Err(Error::Config("must specify a consul key".to_owned()));
        }
        // The HTTP client, unlike a transaction, would not take it as it stands.
        if self
            .prefix
            .split('/')
            .chain(key.split('/'))
            .any(|part| part == "..")
        {
            let wrong =
                "neither lease.consul.key nor the path of lease.consul.url may go through `..`";
            return Err(Error::Config(wrong.to_owned()));
        }
        Ok(join(&self.prefix, key))
    }
}

/// Reads the URL of a host and a port; else says what is wrong.
fn host_and_port(base: &str, host: &str) -> Result<Url, &'static str> {
    const NO_HOST: &str = "it has no host, or one that is no host";
    // The colons of an IPv6 address are within brackets.
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => {
            if !name.is_empty() && port.parse::<u16>().is_err() {
                return Err("the port is not a number from 1 to 65535");
            }
            name
        }
        _ => host,
    };
    // What the parser would skip, decode or take for the end of the host.
    let skipped = |c: char| c.is_whitespace() || c.is_control() || c == '\\' || c == '%';
    if name.is_empty() || name.contains(skipped) {
        return Err(NO_HOST);
    }
    Url::parse(base).map_err(|_| NO_HOST)
}

fn decode(text: &str) -> Result<String, ()> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| ())?;
    if text.chars().any(char::is_control) {
        return Err(());
    }
    Ok(text.into_owned())
}

/// As Go's `path.Join`, for elements that are no `..`: no slash at either end, none twice.
fn join(prefix: &str, key: &str) -> String {
    let parts = prefix.split('/').chain(key.split('/'));
    parts
        .filter(|part| !part.is_empty() && *part != ".")
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_litefs_takes() {
        for (url, base, token, prefix) in [
            ("http://10.0.0.5:8500", "http://10.0.0.5:8500", None, ""),
            ("http://consul/", "http://consul", None, ""),
            ("HTTPS://c:1//a//b/", "https://c:1", None, "a/b"),
            (
                "https://:secret@consul.example.com/app-1",
                "https://consul.example.com",
                Some("secret"),
                "app-1",
            ),
            (
                "http://user:a%2Fb%40@[::1]:8500",
                "http://[::1]:8500",
                Some("a/b@"),
                "",
            ),
            ("http://user@c:8500", "http://c:8500", None, ""),
            ("http://:@c:8500/x%20y", "http://c:8500", None, "x y"),
        ] {
            let parsed = ConsulUrl::parse(url).unwrap();
            let expected = ConsulUrl {
                base: base.to_owned(),
                url: Url::parse(base).unwrap(),
                token: token.map(str::to_owned),
                prefix: prefix.to_owned(),
            };
            assert_eq!(parsed, expected, "{url}");
        }
    }

    #[test]
    fn says_what_is_wrong_and_never_the_token() {
        for (url, reason) in [
            ("", "no scheme"),
            ("consul:8500", "no scheme"),
            ("unix:///tmp/consul", "neither http nor https"),
            ("http://", "no host"),
            ("http://:sEcReT@", "no host"),
            ("http://:sEcReT@:8500", "no host"),
            ("http://:sEcReT@c:port", "host"),
            ("http://:sEcReT@c:", "port"),
            ("http://:sEcReT@c:99999", "port"),
            ("http://:sEcReT@c:+80", "no host"),
            ("http://:sEcReT@c d", "no host"),
            ("http://:sEcReT@c\\d", "no host"),
            ("http://:sEcReT@c%41", "no host"),
            ("http://:sEcReT@c\t", "no host"),
            ("http://:sEcReT@[::1", "no host"),
            ("http://:sEcReT@::1", "no host"),
            ("http://:sEcReT%0a@c", "the token"),
            ("http://:sEcReT@c/%ff", "the path"),
            ("http://:sEcReT@c?x", "something follows"),
        ] {
            let error = ConsulUrl::parse(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
            assert!(!error.contains("sEcReT"), "{error}");
        }
    }

    #[test]
    fn joins_keys_as_litefs_does() {
        let url = ConsulUrl::parse("http://c/app").unwrap();
        assert_eq!(url.key("litefs/primary").unwrap(), "app/litefs/primary");
        assert_eq!(url.key("/litefs//primary/").unwrap(), "app/litefs/primary");
        let url = ConsulUrl::parse("http://c").unwrap();
        assert_eq!(url.key("litefs/primary").unwrap(), "litefs/primary");
        assert!(url.key("").is_err());
        assert!(url.key("a/../b").is_err());
        let url = ConsulUrl::parse("http://c/../app").unwrap();
        assert!(url.key("litefs/primary").is_err());
    }

    #[test]
    fn the_token_is_not_shown() {
        let url = ConsulUrl::parse("http://:sEcReT@c").unwrap();
        assert!(!format!("{url:?}").contains("sEcReT"));
    }
}
