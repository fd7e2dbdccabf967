//! A host: a network namespace.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};

/// The device of each host.
const DEVICE: &str = "tun0";
/// Bytes of a packet: large ones, since each goes through a process.
const MTU: &str = "16000";

/// One host of a [`super::Network`].
#[derive(Debug, Clone)]
pub struct Host {
    namespace: Arc<File>,
    address: Ipv4Addr,
}

impl Host {
    /// A new namespace, and the end of its device that is here: what is read there was sent by the host.
    pub(super) fn create(address: Ipv4Addr) -> (Host, File) {
        // The namespace is that of a thread.
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may have a network namespace");
            let namespace = File::open("/proc/thread-self/ns/net").expect("a thread has one");
            let device = open_device().expect("/dev/net/tun gives a device");
            ip(&["link", "set", "lo", "up"]);
            ip(&["addr", "add", &format!("{address}/24"), "dev", DEVICE]);
            ip(&["link", "set", DEVICE, "mtu", MTU, "up"]);
            (namespace, device)
        });
        let (namespace, device) = thread.join().expect("a host is set up");
        let host = Host {
            namespace: Arc::new(namespace),
            address,
        };
        (host, device)
    }

    /// Its address in the network. Its own loopback is there as well.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Does something in this host: sockets that are opened, threads and processes that are started are the host's.
    ///
    /// # Panics
    /// If `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&*self.namespace, CloneFlags::CLONE_NEWNET)
                    .expect("root may enter a network namespace");
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn open_device() -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")?;
    // SAFETY: an ifreq is plain data, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *place = libc::c_char::try_from(byte).expect("ASCII");
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).expect("both are small");
    // SAFETY: the descriptor is open and the kernel reads and writes one ifreq, which lives until the call returns.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

/// Runs `ip` in the namespace of this thread.
fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "ip {arguments:?}"
    );
}

/// Why no [`super::Network`] can be had here.
pub(crate) fn obstacle() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    let tried = thread::spawn(|| -> Result<(), String> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("network namespace: {error}"))?;
        open_device().map_err(|error| format!("/dev/net/tun: {error}"))?;
        Ok(())
    });
    tried.join().expect("it does not panic").err()
}
