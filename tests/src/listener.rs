//! TCP ports on the loopback interface.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range the kernel takes for outgoing connections, so that no client can sit on a node's port.
const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;

/// A port that nobody else in this process is given and that was free a moment ago.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Several test programs may run at once: each begins elsewhere.
    let begin = u16::try_from(std::process::id() % 700).expect("less than 700") * 20;
    loop {
        let port = FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A port that somebody else has: ours, for as long as this lives.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens on `port` of the loopback interface.
    ///
    /// # Panics
    /// If the port is taken.
    #[track_caller]
    pub fn on(port: u16) -> Listener {
        Listener(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free"))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket has an address")
    }

    /// The socket.
    pub fn socket(&self) -> &TcpListener {
        &self.0
    }
}
