//! This machine's name.

/// The start of this machine, as Linux names it; empty where that cannot be had.
pub(crate) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}

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
