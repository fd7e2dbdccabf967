//! The file as a whole: defaults, the example that is shipped, and the texts of the complaints.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

const MINIMAL: &str = "lease:\n  type: static\n";

fn parse(text: &str) -> Config {
    match Config::parse(Path::new("litefs.yml"), text) {
        Ok(config) => config,
        Err(complaint) => panic!("{complaint}"),
    }
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    match Config::parse(Path::new("litefs.yml"), text) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(complaint) => assert_eq!(complaint.to_string(), expected),
    }
}

/// A replica's lease, with more of its keys.
fn replica(more: &str) -> String {
    format!("lease:\n  type: static\n  candidate: no\n  advertise-url: http://db1:20202\n{more}")
}

#[test]
fn defaults_are_those_of_litefs() {
    let expected = Config {
        exit_on_error: true,
        skip_sync: false,
        fuse: Fuse {
            dir: PathBuf::from("/litefs"),
            allow_other: false,
            debug: false,
            passthrough: true,
        },
        data: Data {
            dir: PathBuf::from("/var/lib/litefs"),
            compress: true,
            retention: Duration::from_secs(600),
            retention_interval: Duration::from_secs(60),
            scrub_interval: Duration::from_secs(24 * 3600),
        },
        http: Http {
            addr: ":20202".parse().unwrap(),
        },
        lease: Lease {
            store: LeaseStore::Static(StaticLease::new(true, None, None).unwrap()),
            hostname: crate::host::hostname(),
            advertise_url: String::new(),
            candidate: true,
            promote: false,
            reconnect_delay: Duration::from_secs(1),
            demote_delay: Duration::from_secs(10),
            databases: Vec::new(),
        },
        log: Log {
            format: LogFormat::Text,
            timestamp: false,
            debug: false,
        },
    };
    assert_eq!(parse(MINIMAL), expected);
}

#[test]
fn the_shipped_example_says_what_the_defaults_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/litefs.example.yml");
    let text = std::fs::read_to_string(&path).unwrap();
    // Its comments must survive the expansion of variables.
    assert_eq!(expand::expand(&text, |_| None), text.replace("$HOME", ""));
    assert_eq!(parse(&text), parse(MINIMAL));
}

#[test]
fn empty_sections_and_empty_values_are_fine() {
    let text = format!(
        "{MINIMAL}  hostname:\nfuse:\ndata:\n  dir:\nhttp:\nlog:\nproxy:\nbackup:\ntracing:\nexec:\n"
    );
    assert_eq!(parse(&text), parse(MINIMAL));
    for exec in ["''", "[]", "~"] {
        assert_eq!(parse(&format!("{MINIMAL}exec: {exec}\n")), parse(MINIMAL));
    }
}

#[test]
fn every_key_is_read() {
    let text = "exit-on-error: off\nskip-sync: yes\nfuse:\n  dir: /m\n  allow-other: true\n  debug: true\n  \
                passthrough: false\ndata:\n  dir: /d\n  compress: false\n  retention: 1h\n  retention-monitor-interval: 5s\n  scrub-interval: 168h\nhttp:\n  \
                addr: 127.0.0.1:1\nlease:\n  type: static\n  candidate: false\n  hostname: db1\n  \
                advertise-url: http://db1:20202\n  reconnect-delay: 5s\n  databases: [a.db, b.db]\nlog:\n  \
                format: json\n  timestamp: true\n  debug: true\n";
    let expected = Config {
        exit_on_error: false,
        skip_sync: true,
        fuse: Fuse {
            dir: PathBuf::from("/m"),
            allow_other: true,
            debug: true,
            passthrough: false,
        },
        data: Data {
            dir: PathBuf::from("/d"),
            compress: false,
            retention: Duration::from_secs(3600),
            retention_interval: Duration::from_secs(5),
            scrub_interval: Duration::from_secs(7 * 24 * 3600),
        },
        http: Http {
            addr: "127.0.0.1:1".parse().unwrap(),
        },
        lease: Lease {
            store: LeaseStore::Static(
                StaticLease::new(false, Some("db1"), Some("http://db1:20202")).unwrap(),
            ),
            hostname: crate::host::hostname(),
            advertise_url: String::new(),
            candidate: false,
            promote: false,
            reconnect_delay: Duration::from_secs(5),
            demote_delay: Duration::from_secs(10),
            databases: vec![DbName::new("a.db").unwrap(), DbName::new("b.db").unwrap()],
        },
        log: Log {
            format: LogFormat::Json,
            timestamp: true,
            debug: true,
        },
    };
    assert_eq!(parse(text), expected);
}

/// A lease in Consul with these keys beside the required ones.
fn consul(lease: &str, consul: &str) -> String {
    format!(
        "lease:\n  type: consul\n{lease}  consul:\n    url: http://:secret@10.0.0.5:8500/prefix\n    \
         key: litefs/primary\n{consul}http:\n  addr: :20303\n"
    )
}

#[test]
fn a_lease_in_consul_has_the_defaults_of_litefs() {
    let lease = parse(&consul("  hostname: db1\n", "")).lease;
    let store = LeaseStore::Consul(Consul {
        url: "http://:secret@10.0.0.5:8500/prefix".to_owned(),
        key: "litefs/primary".to_owned(),
        ttl: Duration::from_secs(10),
        lock_delay: Duration::from_secs(1),
    });
    let expected = Lease {
        store,
        hostname: "db1".to_owned(),
        advertise_url: "http://db1:20303".to_owned(),
        candidate: true,
        promote: false,
        reconnect_delay: Duration::from_secs(1),
        demote_delay: Duration::from_secs(10),
        databases: Vec::new(),
    };
    assert_eq!(lease, expected);
    // The token is nobody's business.
    assert!(!format!("{lease:?}").contains("secret"));
    let lease = parse(&consul(
        "  advertise-url: http://10.0.0.1:1/\n  candidate: no\n  promote: yes\n  demote-delay: 3s\n",
        "    ttl: 2s\n    lock-delay: 5s\n",
    ))
    .lease;
    assert_eq!(
        (lease.advertise_url.as_str(), lease.candidate, lease.promote),
        ("http://10.0.0.1:1", false, true)
    );
    assert_eq!(lease.demote_delay, Duration::from_secs(3));
    let LeaseStore::Consul(consul) = lease.store else {
        panic!("not in Consul")
    };
    assert_eq!(
        (consul.ttl, consul.lock_delay),
        (Duration::from_secs(2), Duration::from_secs(5))
    );
}

#[test]
fn a_lease_that_is_too_short_and_a_wrong_address_are_refused() {
    let refused = |text: &str| {
        let complaint = Config::parse(Path::new("f"), text).unwrap_err();
        complaint.to_string().lines().next().unwrap().to_owned()
    };
    assert_eq!(
        refused(&consul("", "    ttl: 1s\n")),
        "f:6:10: `lease.consul.ttl` must be at least 2s: a renewal that is late needs time to be repeated"
    );
    assert_eq!(
        refused(&consul("  advertise-url: db1\n", "")),
        "f:3:18: advertise-url \"db1\" is not of the form http://host:port: it does not begin with http://"
    );
}

#[test]
fn retention_is_off_where_litefs_has_it_off() {
    for off in ["0s", "-1s"] {
        let data = parse(&format!(
            "{MINIMAL}data:\n  retention: {off}\n  retention-monitor-interval: {off}\n"
        ))
        .data;
        assert_eq!(
            (data.retention, data.retention_interval),
            (Duration::ZERO, Duration::ZERO)
        );
    }
}

/// Each text with what is said about it, drawn to the character.
#[test]
fn what_is_wrong_is_shown_in_place() {
    refused(
        "fus:\n  dir: /x\n",
        "litefs.yml:1:1: unknown key `fus`; the keys here are fuse, data, http, lease, log, exit-on-error, \
         skip-sync, strict-verify, exec, proxy, backup, tracing\n  |\n1 | fus:\n  | ^^^",
    );
    refused(
        "# A comment.\nfuse:\n  dir: /a\n  alow-other: true\n",
        "litefs.yml:4:3: unknown key `alow-other`; the keys here are dir, allow-other, debug, passthrough\n  |\n\
         4 |   alow-other: true\n  |   ^^^^^^^^^^",
    );
    refused(
        &format!("{}fuse:\n  allow-other: maybe\n", "\n".repeat(98)),
        "litefs.yml:100:16: not a valid boolean\n    |\n100 |   allow-other: maybe\n    |                ^^^^^",
    );
    refused(
        "fuse: hello\n",
        "litefs.yml:1:7: expected mapping start\n  |\n1 | fuse: hello\n  |       ^^^^^",
    );
    refused(
        "fuse:\n  dir: a\n  dir: b\n",
        "litefs.yml:3:3: the key `dir` is given twice\n  |\n3 |   dir: b\n  |   ^^^",
    );
    refused(
        "data:\n  retention: 10\n",
        "litefs.yml:2:14: invalid duration \"10\": a duration is numbers with units (ns, us, ms, s, m, h), such as \
         10s, 1.5h or 1m30s\n  |\n2 |   retention: 10\n  |              ^^",
    );
    refused(
        "data: {dir: x\n",
        "litefs.yml:1:7: unclosed bracket '{'\n  |\n1 | data: {dir: x\n  |       ^",
    );
    refused(
        "fuse:\n\tdir: x\n",
        "litefs.yml:2:2: tabs disallowed within this context (block indentation)\n  |\n2 |  dir: x\n  |  ^",
    );
    refused(
        "---\nfuse:\n---\ndata:\n",
        "litefs.yml:4:1: a second YAML document begins here; there must be one\n  |\n4 | data:\n  | ^",
    );
}

#[test]
fn a_bad_value_of_a_known_key_is_shown_in_place() {
    refused(
        "lease:\n  type: etcd\n",
        "litefs.yml:2:9: invalid lease type, must be either 'consul' or 'static', got: 'etcd'\n  |\n\
         2 |   type: etcd\n  |         ^^^^",
    );
    refused(
        "lease:\n  type: static\n  advertise-url: https://x:1\n",
        "litefs.yml:3:18: advertise-url \"https://x:1\" is not of the form http://host:port: it does not begin \
         with http://\n  |\n3 |   advertise-url: https://x:1\n  |                  ^^^^^^^^^^^",
    );
    refused(
        &replica("  databases: [ok, a-wal]\n"),
        "litefs.yml:5:19: \"a-wal\" is reserved: it is not the name of a database but of a file that belongs to \
         one, or of litefs's own\n  |\n5 |   databases: [ok, a-wal]\n  |                   ^^^^^",
    );
    refused(
        &replica("  reconnect-delay: 0s\n"),
        "litefs.yml:5:20: `lease.reconnect-delay` must be longer than nothing\n  |\n5 |   reconnect-delay: 0s\n  |                    ^^",
    );
    refused(
        "http:\n  addr: localhost\nlease:\n  type: static\n",
        "litefs.yml:2:9: invalid address \"localhost\": it must be HOST:PORT or :PORT\n  |\n2 |   addr: localhost\n  |         ^^^^^^^^^",
    );
    refused(
        "log:\n  format: xml\nlease:\n  type: static\n",
        "litefs.yml:2:11: invalid log format: \"xml\", must be text or json\n  |\n2 |   format: xml\n  |           ^^^",
    );
    refused(
        "fuse:\n  dir: ''\n",
        "litefs.yml:2:8: `fuse.dir` is empty: a directory is required\n  |\n2 |   dir: ''\n  |        ^^",
    );
}

#[test]
fn values_that_do_not_go_together() {
    refused(
        "fuse:\n  dir: /a\ndata:\n  dir: /a/\n",
        "litefs.yml:4:8: `fuse.dir` is \"/a\" and `data.dir` is \"/a/\", the same directory: they must differ\n  |\n\
         4 |   dir: /a/\n  |        ^^^",
    );
    refused(
        "data:\n  dir: /litefs/data\n",
        "litefs.yml:2:8: `fuse.dir` is \"/litefs\" and `data.dir` is \"/litefs/data\", inside the mount: the data \
         must not be\n  |\n2 |   dir: /litefs/data\n  |        ^^^^^^^^^^^^",
    );
    refused(
        "lease:\n  type: static\n  databases: [a]\n",
        "litefs.yml:3:15: cannot specify a database replication filter on candidate nodes\n  |\n\
         3 |   databases: [a]\n  |               ^",
    );
    refused("", "litefs.yml: `lease.type` is required: consul or static");
    refused(
        "lease:\n  type: consul\n",
        "litefs.yml: `lease.consul.url` is required: http://[:TOKEN@]HOST:8500[/PREFIX]",
    );
    refused(
        "lease:\n  type: consul\n  consul:\n    url: http://h:8500\n",
        "litefs.yml: must specify a consul key: `lease.consul.key`",
    );
    refused(
        "lease:\n  type: static\n  candidate: false\n",
        "litefs.yml: `lease.advertise-url` is required where `lease.candidate` is false: with a static lease it is \
         the primary's URL, on every node",
    );
}

/// What this build cannot do is refused, never ignored; each line is a configuration with one such key.
#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (text, place, key) in [
        ("exec: run me\n", "1:7", "`exec`"),
        (
            "exec:\n  - cmd: a\n    if-candidate: true\n",
            "2:3",
            "`exec`",
        ),
        ("strict-verify: true\n", "1:16", "`strict-verify`"),
        ("proxy:\n  target: localhost:80\n", "2:11", "`proxy.target`"),
        ("backup:\n  type: file\n", "2:9", "`backup.type`"),
        ("tracing:\n  path: /t\n", "2:9", "`tracing.path`"),
        (
            "http:\n  snapshot-timeout: 5m\n",
            "2:21",
            "`http.snapshot-timeout`",
        ),
    ] {
        let complaint = Config::parse(Path::new("f"), text).unwrap_err().to_string();
        let expected = format!("f:{place}: {key} is not supported yet by this build: ");
        assert!(complaint.starts_with(&expected), "{complaint}");
    }
}

#[test]
fn every_section_refuses_keys_that_it_does_not_have() {
    for section in [
        "fuse",
        "data",
        "http",
        "lease",
        "log",
        "proxy",
        "backup",
        "tracing",
        "lease:\n  consul",
    ] {
        let text = format!("{section}:\n    nosuch: 1\n");
        let complaint = Config::parse(Path::new("f"), &text)
            .unwrap_err()
            .to_string();
        let line = text.lines().count();
        let expected = format!("f:{line}:5: unknown key `nosuch`; the keys here are ");
        assert!(complaint.starts_with(&expected), "{section}: {complaint}");
    }
}

#[test]
fn a_command_is_checked_even_though_it_is_refused() {
    refused(
        "exec:\n  - cmd: a\n    if-candidat: true\n",
        "litefs.yml:3:5: unknown key `if-candidat`; the keys here are cmd, if-candidate\n  |\n\
         3 |     if-candidat: true\n  |     ^^^^^^^^^^^",
    );
}
