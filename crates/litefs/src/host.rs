//! This machine's name.

/// The host name: `HOSTNAME` if that is set, else what the kernel says.
pub(crate) fn hostname() -> String {
    std::env::var("HOSTNAME")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| {
            nix::sys::utsname::uname().map_or_else(
                |_| String::new(),
                |names| names.nodename().to_string_lossy().into_owned(),
            )
        })
}
