//! From what is written to what is meant: defaults, checks between keys, and what this build cannot do yet.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lease::{AdvertiseUrl, StaticLease};
use serde_saphyr::Spanned;
use store::DbName;

use crate::host;

use super::diagnostic::Complaint;
use super::duration::GoDuration;
use super::file::{self, File, Key};
use super::{Config, Consul, Data, Fuse, Http, Lease, LeaseStore, Log, LogFormat};

type Checked<T> = Result<T, Complaint>;

const DEFAULT_MOUNT: &str = "/litefs";
const DEFAULT_DATA: &str = "/var/lib/litefs";
const DEFAULT_ADDR: &str = ":20202";
const DEFAULT_RETENTION: Duration = Duration::from_secs(600);
const DEFAULT_RETENTION_INTERVAL: Duration = Duration::from_secs(60);
const DEFAULT_SCRUB_INTERVAL: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_RECONNECT_DELAY: Duration = Duration::from_secs(1);
const DEFAULT_DEMOTE_DELAY: Duration = Duration::from_secs(10);
const DEFAULT_TTL: Duration = Duration::from_secs(10);
const DEFAULT_LOCK_DELAY: Duration = Duration::from_secs(1);

/// A shorter lease leaves no time for a renewal that is late.
const SHORTEST_TTL: Duration = Duration::from_secs(2);

/// Checks the file and fills in LiteFS's defaults.
pub(super) fn resolve(file: File) -> Checked<Config> {
    refuse_unsupported(&file)?;
    let fuse_dir = file.fuse.as_ref().and_then(|fuse| fuse.dir.as_ref());
    let data_dir = file.data.as_ref().and_then(|data| data.dir.as_ref());
    check_directories(fuse_dir, data_dir)?;
    let http = http(file.http.unwrap_or_default())?;
    let lease = lease(file.lease.unwrap_or_default(), &http)?;
    Ok(Config {
        exit_on_error: file.exit_on_error.unwrap_or(true),
        skip_sync: file.skip_sync.unwrap_or(false),
        fuse: fuse(file.fuse.unwrap_or_default())?,
        data: data(file.data.unwrap_or_default())?,
        http,
        lease,
        log: log(file.log.unwrap_or_default())?,
    })
}

/// Keys of LiteFS that would change what happens, and cannot here: they are refused unless they are off.
fn refuse_unsupported(file: &File) -> Checked<()> {
    let refuse = |key: &str, advice: &str, location| {
        Err(Complaint::at(
            location,
            format!("`{key}` is not supported yet by this build: {advice}"),
        ))
    };
    if let Some(exec) = file.exec.as_ref().filter(|exec| exec.value.commands > 0) {
        return refuse(
            "exec",
            "start the application by itself once the mount is ready",
            exec.referenced,
        );
    }
    if let Some(strict) = file.strict_verify.as_ref().filter(|strict| strict.value) {
        return refuse("strict-verify", "leave it out", strict.referenced);
    }
    let non_empty = |key: &Key<String>| {
        key.as_ref()
            .filter(|text| !text.value.is_empty())
            .map(|text| text.referenced)
    };
    if let Some(location) = file
        .proxy
        .as_ref()
        .and_then(|proxy| non_empty(&proxy.target))
    {
        return refuse(
            "proxy.target",
            "let clients send their writes to the primary",
            location,
        );
    }
    if let Some(location) = file
        .backup
        .as_ref()
        .and_then(|backup| non_empty(&backup.kind))
    {
        return refuse("backup.type", "take backups with `litefs export`", location);
    }
    if let Some(location) = file
        .tracing
        .as_ref()
        .and_then(|tracing| non_empty(&tracing.path))
    {
        return refuse(
            "tracing.path",
            "run `litefs mount -tracing` for a trace on standard error",
            location,
        );
    }
    let timeout = file
        .http
        .as_ref()
        .and_then(|http| http.snapshot_timeout.as_ref());
    if let Some(timeout) = timeout.filter(|timeout| timeout.value.positive().is_some()) {
        let advice = "leave it out; a snapshot may take as long as its replica makes progress";
        return refuse("http.snapshot-timeout", advice, timeout.referenced);
    }
    Ok(())
}

/// Both must be given some name, and not the same one.
fn check_directories(
    fuse_dir: Option<&Spanned<String>>,
    data_dir: Option<&Spanned<String>>,
) -> Checked<()> {
    for (key, dir) in [("fuse.dir", fuse_dir), ("data.dir", data_dir)] {
        if let Some(dir) = dir.filter(|dir| dir.value.is_empty()) {
            return Err(Complaint::at(
                dir.referenced,
                format!("`{key}` is empty: a directory is required"),
            ));
        }
    }
    let path = |dir: Option<&Spanned<String>>, default| {
        dir.map_or(PathBuf::from(default), |dir| PathBuf::from(&dir.value))
    };
    let (mount, data) = (path(fuse_dir, DEFAULT_MOUNT), path(data_dir, DEFAULT_DATA));
    let reason = if mount == data {
        "the same directory: they must differ"
    } else if data.starts_with(&mount) {
        "inside the mount: the data must not be"
    } else {
        return Ok(());
    };
    let message = format!("`fuse.dir` is {mount:?} and `data.dir` is {data:?}, {reason}");
    Err(match data_dir.or(fuse_dir) {
        Some(written) => Complaint::at(written.referenced, message),
        None => Complaint::missing(message),
    })
}

fn fuse(fuse: file::Fuse) -> Checked<Fuse> {
    Ok(Fuse {
        dir: directory(fuse.dir, DEFAULT_MOUNT),
        allow_other: fuse.allow_other.unwrap_or(false),
        debug: fuse.debug.unwrap_or(false),
        passthrough: fuse.passthrough.unwrap_or(true),
    })
}

fn directory(dir: Key<String>, default: &str) -> PathBuf {
    dir.map_or_else(|| Path::new(default).to_owned(), |dir| dir.value.into())
}

fn data(data: file::Data) -> Checked<Data> {
    // In LiteFS, too, zero and anything below switch the removal of LTX files off.
    let or_never = |duration: GoDuration| duration.positive().unwrap_or(Duration::ZERO);
    Ok(Data {
        dir: directory(data.dir, DEFAULT_DATA),
        compress: data.compress.unwrap_or(true),
        retention: data.retention.map_or(DEFAULT_RETENTION, or_never),
        retention_interval: data
            .retention_monitor_interval
            .map_or(DEFAULT_RETENTION_INTERVAL, or_never),
        scrub_interval: data.scrub_interval.map_or(DEFAULT_SCRUB_INTERVAL, or_never),
    })
}

fn http(http: file::Http) -> Checked<Http> {
    let addr = match http.addr.filter(|addr| !addr.value.is_empty()) {
        Some(addr) => addr
            .value
            .parse()
            .map_err(|reason: String| Complaint::at(addr.referenced, reason))?,
        None => DEFAULT_ADDR.parse().map_err(Complaint::missing)?,
    };
    Ok(Http { addr })
}

fn lease(lease: file::Lease, http: &Http) -> Checked<Lease> {
    let candidate = lease.candidate.unwrap_or(true);
    let own = host::hostname();
    let (store, hostname, advertise_url) = if is_consul(lease.kind.as_ref())? {
        let (hostname, advertise_url) = own_address(&lease, http)?;
        let consul = consul(lease.consul.as_ref())?;
        (LeaseStore::Consul(consul), hostname, advertise_url)
    } else {
        // What is written there is the primary's.
        let fixed = fixed(&lease, candidate)?;
        (LeaseStore::Static(fixed), own, String::new())
    };
    let reconnect_delay = match lease.reconnect_delay {
        None => DEFAULT_RECONNECT_DELAY,
        Some(delay) => delay.value.positive().ok_or_else(|| {
            Complaint::at(
                delay.referenced,
                "`lease.reconnect-delay` must be longer than nothing",
            )
        })?,
    };
    let demote_delay = lease.demote_delay.map_or(DEFAULT_DEMOTE_DELAY, |delay| {
        delay.positive().unwrap_or(Duration::ZERO)
    });
    Ok(Lease {
        store,
        hostname,
        advertise_url,
        candidate,
        promote: lease.promote.unwrap_or(false),
        reconnect_delay,
        demote_delay,
        databases: databases(lease.databases.unwrap_or_default(), candidate)?,
    })
}

/// The lease that is in the file itself.
fn fixed(lease: &file::Lease, candidate: bool) -> Checked<StaticLease> {
    let url = lease.advertise_url.as_ref();
    let fixed = StaticLease::new(
        candidate,
        lease.hostname.as_deref(),
        url.map(|url| url.value.as_str()),
    );
    fixed.map_err(|error| match (error, url) {
        (lease::Error::NoPrimary, _) => Complaint::missing(
            "`lease.advertise-url` is required where `lease.candidate` is false: with a static lease it is the \
             primary's URL, on every node",
        ),
        (error, Some(url)) => Complaint::at(url.referenced, error.to_string()),
        (error, None) => Complaint::missing(error.to_string()),
    })
}

/// How others name and reach this node.
fn own_address(lease: &file::Lease, http: &Http) -> Checked<(String, String)> {
    let hostname = lease.hostname.clone().filter(|name| !name.is_empty());
    let hostname = hostname.unwrap_or_else(host::hostname);
    let written = lease.advertise_url.as_ref();
    let url = match written.filter(|url| !url.value.is_empty()) {
        Some(url) => url.value.clone(),
        None => format!("http://{hostname}:{}", http.addr.port()),
    };
    match url.parse::<AdvertiseUrl>() {
        Ok(url) => Ok((hostname, url.to_string())),
        Err(error) => Err(match written {
            Some(written) => Complaint::at(written.referenced, error.to_string()),
            None => Complaint::missing(error.to_string()),
        }),
    }
}

/// LiteFS's keys of a lease in Consul.
fn consul(consul: Option<&file::Consul>) -> Checked<Consul> {
    let text = |key: Option<&Key<String>>| {
        let written = key.and_then(Option::as_ref).map(|text| text.value.clone());
        written.filter(|text| !text.is_empty())
    };
    let url = text(consul.map(|consul| &consul.url)).ok_or_else(|| {
        Complaint::missing("`lease.consul.url` is required: http://[:TOKEN@]HOST:8500[/PREFIX]")
    })?;
    let key = text(consul.map(|consul| &consul.key))
        .ok_or_else(|| Complaint::missing("must specify a consul key: `lease.consul.key`"))?;
    let ttl = consul.and_then(|consul| consul.ttl.as_ref());
    let length = ttl
        .and_then(|ttl| ttl.value.positive())
        .unwrap_or(DEFAULT_TTL);
    if let Some(ttl) = ttl.filter(|_| length < SHORTEST_TTL) {
        let message = "`lease.consul.ttl` must be at least 2s: a renewal that is late needs time to be repeated";
        return Err(Complaint::at(ttl.referenced, message));
    }
    Ok(Consul {
        url,
        key,
        ttl: length,
        lock_delay: consul
            .and_then(|consul| consul.lock_delay.as_ref()?.positive())
            .unwrap_or(DEFAULT_LOCK_DELAY),
    })
}

fn is_consul(kind: Option<&Spanned<String>>) -> Checked<bool> {
    const FORM: &str = "invalid lease type, must be either 'consul' or 'static'";
    let Some(kind) = kind else {
        return Err(Complaint::missing(
            "`lease.type` is required: consul or static",
        ));
    };
    match kind.value.as_str() {
        "static" => Ok(false),
        "consul" => Ok(true),
        other => Err(Complaint::at(
            kind.referenced,
            format!("{FORM}, got: '{other}'"),
        )),
    }
}

fn databases(filter: Vec<Spanned<String>>, candidate: bool) -> Checked<Vec<DbName>> {
    if let Some(first) = filter.first().filter(|_| candidate) {
        let message = "cannot specify a database replication filter on candidate nodes";
        return Err(Complaint::at(first.referenced, message));
    }
    filter
        .into_iter()
        .map(|name| {
            DbName::new(&name.value)
                .map_err(|error| Complaint::at(name.referenced, error.to_string()))
        })
        .collect()
}

fn log(log: file::Log) -> Checked<Log> {
    let format = match log
        .format
        .as_ref()
        .map(|format| (format.value.as_str(), format.referenced))
    {
        None | Some(("text", _)) => LogFormat::Text,
        Some(("json", _)) => LogFormat::Json,
        Some((other, location)) => {
            return Err(Complaint::at(
                location,
                format!("invalid log format: {other:?}, must be text or json"),
            ));
        }
    };
    Ok(Log {
        format,
        timestamp: log.timestamp.unwrap_or(false),
        debug: log.debug.unwrap_or(false),
    })
}
